;; Four loops as guests have them, of 1 000 steps each: a hash, a copy in lower case,
;; random numbers, a pass of a sort. Each stands in two places, because what a short
;; loop takes depends on where its machine code happens to lie. It abstains.
(module
  (memory (export "memory") 18)
  (func (export "souk_abi_1"))
  (func (export "souk_buffer") (param i32) (result i32) (i32.const 131072))
  (func (export "select_version") (param i32) (result i64)
    (i32.store (i32.const 65536) (call $hash1))
    (i32.store (i32.const 65540) (call $lower1))
    (i32.store (i32.const 65544) (call $random1))
    (i32.store (i32.const 65548) (call $sort1))
    (i32.store (i32.const 65552) (call $hash2))
    (i32.store (i32.const 65556) (call $lower2))
    (i32.store (i32.const 65560) (call $random2))
    (i32.store (i32.const 65564) (call $sort2))
    (i64.const 0))

  (func $hash1 (result i32) ;; a hash (FNV-1a) of bytes
    (local $h i32) (local $i i32)
    (local.set $h (i32.const 0x811c9dc5))
    (loop $next
      (local.set $h (i32.mul (i32.xor (local.get $h) (i32.load8_u (local.get $i))) (i32.const 0x01000193)))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
    (local.get $h))

  (func $lower1 (result i32) ;; a copy in lower case
    (local $i i32) (local $c i32)
    (loop $next
      (local.set $c (i32.load8_u (local.get $i)))
      (if (i32.lt_u (i32.sub (local.get $c) (i32.const 65)) (i32.const 26))
        (then (local.set $c (i32.or (local.get $c) (i32.const 32)))))
      (i32.store8 offset=8192 (local.get $i) (local.get $c))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
    (local.get $c))

  (func $random1 (result i32) ;; random numbers (xorshift)
    (local $i i32) (local $x i64)
    (local.set $x (i64.const 0x9E3779B97F4A7C15))
    (loop $next
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
      (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
      (i64.store offset=16384 (local.get $i) (local.get $x))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 8000))))
    (i32.wrap_i64 (local.get $x)))

  (func $sort1 (result i32) ;; a pass of a sort over them
    (local $i i32) (local $x i64) (local $y i64)
    (local.set $x (i64.load offset=16384 (i32.const 0)))
    (loop $next
      (local.set $y (i64.load offset=16392 (local.get $i)))
      (if (i64.gt_u (local.get $x) (local.get $y))
        (then (i64.store offset=16384 (local.get $i) (local.get $y)))
        (else
          (i64.store offset=16384 (local.get $i) (local.get $x))
          (local.set $x (local.get $y))))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 7992))))
    (i64.store offset=24376 (i32.const 0) (local.get $x))
    (local.get $i))

  (func $hash2 (result i32) ;; a hash (FNV-1a) of bytes
    (local $h i32) (local $i i32)
    (i64.store (i32.const 65600) (i64.const 1)) ;; so that what follows lies elsewhere
    (local.set $h (i32.const 0x811c9dc5))
    (loop $next
      (local.set $h (i32.mul (i32.xor (local.get $h) (i32.load8_u (local.get $i))) (i32.const 0x01000193)))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
    (local.get $h))

  (func $lower2 (result i32) ;; a copy in lower case
    (local $i i32) (local $c i32)
    (i64.store (i32.const 65600) (i64.const 1)) ;; so that what follows lies elsewhere
    (loop $next
      (local.set $c (i32.load8_u (local.get $i)))
      (if (i32.lt_u (i32.sub (local.get $c) (i32.const 65)) (i32.const 26))
        (then (local.set $c (i32.or (local.get $c) (i32.const 32)))))
      (i32.store8 offset=8192 (local.get $i) (local.get $c))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
    (local.get $c))

  (func $random2 (result i32) ;; random numbers (xorshift)
    (local $i i32) (local $x i64)
    (i64.store (i32.const 65600) (i64.const 1)) ;; so that what follows lies elsewhere
    (local.set $x (i64.const 0x9E3779B97F4A7C15))
    (loop $next
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 13))))
      (local.set $x (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 7))))
      (local.set $x (i64.xor (local.get $x) (i64.shl (local.get $x) (i64.const 17))))
      (i64.store offset=16384 (local.get $i) (local.get $x))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 8000))))
    (i32.wrap_i64 (local.get $x)))

  (func $sort2 (result i32) ;; a pass of a sort over them
    (local $i i32) (local $x i64) (local $y i64)
    (i64.store (i32.const 65600) (i64.const 1)) ;; so that what follows lies elsewhere
    (local.set $x (i64.load offset=16384 (i32.const 0)))
    (loop $next
      (local.set $y (i64.load offset=16392 (local.get $i)))
      (if (i64.gt_u (local.get $x) (local.get $y))
        (then (i64.store offset=16384 (local.get $i) (local.get $y)))
        (else
          (i64.store offset=16384 (local.get $i) (local.get $x))
          (local.set $x (local.get $y))))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const 7992))))
    (i64.store offset=24376 (i32.const 0) (local.get $x))
    (local.get $i)))
