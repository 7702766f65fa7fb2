;; Whoever has a subscription may have every app, and nobody else any: by hand.
(module
  (memory (export "memory") 18)
  (global $r i32 (i32.const 131072)) ;; the request; there is space for the largest

  ;; The verdict is at 1024: a head of 16 bytes, the list of items, a text, the items.
  (data (i32.const 1040) "\40\00\00\00")         ;; the items begin at 64 …
  (data (i32.const 1048) "\10\00\00\00")         ;; … and are 16 bytes apart
  (data (i32.const 1056) "needs a subscription") ;; at 32

  (func (export "souk_abi_1"))
  (func (export "souk_buffer") (param i32) (result i32) (global.get $r))

  ;; The address of what an offset in the request points to.
  (func $at (param $p i32) (result i32)
    (i32.add (global.get $r) (i32.load (local.get $p))))

  ;; Whether the account holds the grant sub:plus.
  (func $subscribed (result i32)
    (local $i i32) (local $grant i32)
    (local.set $grant (call $at (i32.add (global.get $r) (i32.const 80)))) ;; grants
    (loop $next
      (if (i32.ge_u (local.get $i) (i32.load offset=84 (global.get $r))) (then (return (i32.const 0))))
      (if (i32.eq (i32.load offset=4 (local.get $grant)) (i32.const 8)) ;; its length
        (then (if (i64.eq (i64.load (call $at (local.get $grant))) (i64.const 0x73756c703a627573)) ;; "sub:plus"
          (then (return (i32.const 1))))))
      (local.set $grant (i32.add (local.get $grant) (i32.load offset=88 (global.get $r)))) ;; by the stride
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next))
    (unreachable))

  (func (export "entitle") (param $length i32) (result i64)
    (local $i i32) (local $n i32) (local $answer i32) (local $deny i32)
    (local.set $n (i32.load offset=100 (global.get $r)))
    (if (i32.gt_u (local.get $n) (i32.const 4092)) (then (return (i64.const 1)))) ;; an error
    (local.set $deny (i32.eqz (call $subscribed)))
    (local.set $answer (i32.const 1088))
    (loop $next
      (i64.store (local.get $answer) (i64.extend_i32_u (local.get $deny))) ;; allow is 0, deny is 1; code 0
      (i64.store offset=8 (local.get $answer)
        (select (i64.const 0x0000001400000020) (i64.const 0) (local.get $deny))) ;; 20 bytes at 32
      (local.set $answer (i32.add (local.get $answer) (i32.const 16)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (local.get $n))))
    (i32.store (i32.const 1024) (i32.add (i32.const 64) (i32.shl (local.get $n) (i32.const 4)))) ;; size
    (i32.store (i32.const 1044) (local.get $n)) ;; count
    (i64.or (i64.const 0x0000040000000000) (i64.load32_u (i32.const 1024)))))
