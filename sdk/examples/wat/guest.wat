;; Each device gets the newest version that is rolled out to it: by hand.
(module
  (import "souk" "bucket" (func $bucket (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 18)
  (global $r i32 (i32.const 131072)) ;; the request; there is space for the largest

  ;; The verdict is at 1024: a head of 16 bytes, the list of items, two texts, the items.
  (data (i32.const 1040) "\30\00\00\00")     ;; the items begin at 48 …
  (data (i32.const 1048) "\10\00\00\00")     ;; … and are 16 bytes apart
  (data (i32.const 1056) "opennot open yet") ;; texts at 32 and at 36

  (func (export "souk_abi_1"))
  (func (export "souk_buffer") (param i32) (result i32) (global.get $r))

  ;; The address of what an offset in the request points to.
  (func $at (param $p i32) (result i32)
    (i32.add (global.get $r) (i32.load (local.get $p))))

  ;; Says whether a version is open to who asks: to all, or to a share of those who have a key.
  (func $open (param $c i32) (param $rollout i32) (result i32)
    (if (i32.ge_u (local.get $rollout) (i32.const 10000)) (then (return (i32.const 1))))
    (if (i32.eqz (i32.load offset=68 (global.get $r))) (then (return (i32.const 0)))) ;; bucket_key is empty
    (i32.lt_u
      (call $bucket
        (call $at (i32.add (global.get $r) (i32.const 64))) (i32.load offset=68 (global.get $r))
        (call $at (i32.add (local.get $c) (i32.const 32))) (i32.load offset=36 (local.get $c))) ;; salt
      (local.get $rollout)))

  ;; Writes the answer to one app, from its list of candidates.
  (func $pick (param $list i32) (param $answer i32)
    (local $i i32) (local $c i32)
    (local.set $c (call $at (local.get $list)))
    (block $end
      (loop $next
        (br_if $end (i32.ge_u (local.get $i) (i32.load offset=4 (local.get $list))))
        (if (call $open (local.get $c) (i32.load offset=24 (local.get $c)))
          (then
            (i64.store (local.get $answer) (i64.extend_i32_u (local.get $i)))
            (i64.store offset=8 (local.get $answer) (i64.const 0x0000000400000020)) ;; 4 bytes at 32
            (return)))
        (local.set $c (i32.add (local.get $c) (i32.load offset=8 (local.get $list)))) ;; by the stride
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (i64.store (local.get $answer) (i64.const 0xffffffff)) ;; hold is -1, code 0
    (i64.store offset=8 (local.get $answer) (i64.const 0x0000000c00000024))) ;; 12 bytes at 36

  (func (export "select_version") (param $length i32) (result i64)
    (local $i i32) (local $n i32) (local $app i32)
    (local.set $n (i32.load offset=100 (global.get $r)))
    (if (i32.gt_u (local.get $n) (i32.const 4093)) (then (return (i64.const 1)))) ;; an error
    (local.set $app (call $at (i32.add (global.get $r) (i32.const 96))))
    (loop $next
      (call $pick (i32.add (local.get $app) (i32.const 32)) (i32.add (i32.const 1072) (i32.shl (local.get $i) (i32.const 4))))
      (local.set $app (i32.add (local.get $app) (i32.load offset=104 (global.get $r))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (local.get $n))))
    (i32.store (i32.const 1024) (i32.add (i32.const 48) (i32.shl (local.get $n) (i32.const 4)))) ;; size
    (i32.store (i32.const 1044) (local.get $n)) ;; count
    (i64.or (i64.const 0x0000040000000000) (i64.load32_u (i32.const 1024)))))
