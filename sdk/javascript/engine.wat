;; What stands between a plugin's JavaScript and the host: it starts QuickJS with
;; the plugin's source, makes objects of the records that the host sends, and
;; records of the objects that the plugin answers. build.js fills in the lines that
;; begin with @, and merges the module with quickjs.wasm, which has the memory.
;;
;; A value of QuickJS is an i64 with its tag in the upper half: 0 an integer, 3
;; undefined, 6 an exception, 7 a short BigInt, 8 and up a number, -1 an object,
;; -6 and -7 a string, -9 a BigInt.
(module
  (import "quickjs" "memory" (memory 1))
  (import "quickjs" "__indirect_function_table" (table $table 1 funcref))
  (import "quickjs" "_initialize" (func $libc_initialize))
  (import "quickjs" "malloc" (func $malloc (param i32) (result i32)))
  (import "quickjs" "free" (func $free (param i32)))
  (import "quickjs" "JS_NewRuntime" (func $JS_NewRuntime (result i32)))
  (import "quickjs" "JS_SetMaxStackSize" (func $JS_SetMaxStackSize (param i32 i32)))
  (import "quickjs" "JS_NewContextRaw" (func $JS_NewContextRaw (param i32) (result i32)))
  (import "quickjs" "JS_AddIntrinsicBaseObjects" (func $JS_AddIntrinsicBaseObjects (param i32) (result i32)))
  (import "quickjs" "JS_AddIntrinsicDate" (func $JS_AddIntrinsicDate (param i32) (result i32)))
  (import "quickjs" "JS_AddIntrinsicEval" (func $JS_AddIntrinsicEval (param i32) (result i32)))
  (import "quickjs" "JS_AddIntrinsicRegExp" (func $JS_AddIntrinsicRegExp (param i32) (result i32)))
  (import "quickjs" "JS_AddIntrinsicJSON" (func $JS_AddIntrinsicJSON (param i32) (result i32)))
  (import "quickjs" "JS_AddIntrinsicProxy" (func $JS_AddIntrinsicProxy (param i32) (result i32)))
  (import "quickjs" "JS_AddIntrinsicMapSet" (func $JS_AddIntrinsicMapSet (param i32) (result i32)))
  (import "quickjs" "JS_AddIntrinsicTypedArrays" (func $JS_AddIntrinsicTypedArrays (param i32) (result i32)))
  (import "quickjs" "JS_AddIntrinsicPromise" (func $JS_AddIntrinsicPromise (param i32) (result i32)))
  (import "quickjs" "JS_AddIntrinsicBigInt" (func $JS_AddIntrinsicBigInt (param i32) (result i32)))
  (import "quickjs" "JS_AddIntrinsicAToB" (func $JS_AddIntrinsicAToB (param i32) (result i32)))
  (import "quickjs" "JS_Eval" (func $JS_Eval (param i32 i32 i32 i32 i32) (result i64)))
  (import "quickjs" "JS_Call" (func $JS_Call (param i32 i64 i64 i32 i32) (result i64)))
  (import "quickjs" "JS_ExecutePendingJob" (func $JS_ExecutePendingJob (param i32 i32) (result i32)))
  (import "quickjs" "JS_GetException" (func $JS_GetException (param i32) (result i64)))
  (import "quickjs" "JS_FreeValue" (func $JS_FreeValue (param i32 i64)))
  (import "quickjs" "JS_NewCFunction2" (func $JS_NewCFunction2 (param i32 i32 i32 i32 i32 i32) (result i64)))
  (import "quickjs" "JS_NewAtomLen" (func $JS_NewAtomLen (param i32 i32 i32) (result i32)))
  (import "quickjs" "JS_AtomToString" (func $JS_AtomToString (param i32 i32) (result i64)))
  (import "quickjs" "JS_NewStringLen" (func $JS_NewStringLen (param i32 i32 i32) (result i64)))
  (import "quickjs" "JS_NewNumber" (func $JS_NewNumber (param i32 f64) (result i64)))
  (import "quickjs" "JS_NewBigInt64" (func $JS_NewBigInt64 (param i32 i64) (result i64)))
  (import "quickjs" "JS_NewBigUint64" (func $JS_NewBigUint64 (param i32 i64) (result i64)))
  (import "quickjs" "JS_NewObject" (func $JS_NewObject (param i32) (result i64)))
  (import "quickjs" "JS_NewObjectFrom" (func $JS_NewObjectFrom (param i32 i32 i32 i32) (result i64)))
  (import "quickjs" "JS_NewArrayFrom" (func $JS_NewArrayFrom (param i32 i32 i32) (result i64)))
  (import "quickjs" "JS_NewUint8ArrayCopy" (func $JS_NewUint8ArrayCopy (param i32 i32 i32) (result i64)))
  (import "quickjs" "JS_GetUint8Array" (func $JS_GetUint8Array (param i32 i32 i64) (result i32)))
  (import "quickjs" "JS_ToCStringLen2" (func $JS_ToCStringLen2 (param i32 i32 i64 i32) (result i32)))
  (import "quickjs" "JS_FreeCString" (func $JS_FreeCString (param i32 i32)))
  (import "quickjs" "JS_ToFloat64" (func $JS_ToFloat64 (param i32 i32 i64) (result i32)))
  (import "quickjs" "JS_ToBigInt64" (func $JS_ToBigInt64 (param i32 i32 i64) (result i32)))
  (import "quickjs" "JS_IsArray" (func $JS_IsArray (param i64) (result i32)))
  (import "quickjs" "JS_GetLength" (func $JS_GetLength (param i32 i64 i32) (result i32)))
  (import "quickjs" "JS_GetProperty" (func $JS_GetProperty (param i32 i64 i32) (result i64)))
  (import "quickjs" "JS_GetPropertyStr" (func $JS_GetPropertyStr (param i32 i64 i32) (result i64)))
  (import "quickjs" "JS_GetPropertyUint32" (func $JS_GetPropertyUint32 (param i32 i64 i32) (result i64)))
  (import "quickjs" "JS_SetPropertyStr" (func $JS_SetPropertyStr (param i32 i64 i32 i64) (result i32)))
  (import "quickjs" "JS_GetOwnPropertyNames" (func $JS_GetOwnPropertyNames (param i32 i32 i32 i64 i32) (result i32)))
  (import "quickjs" "JS_FreePropertyEnum" (func $JS_FreePropertyEnum (param i32 i32 i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  @imports

  (data $source "@source")
  (data $schema "@schema")
  (data $names "@names")
  (elem declare func $random $stderr $utf8_text @functions)

  (global $runtime (mut i32) (i32.const 0))
  (global $context (mut i32) (i32.const 0))
  (global $undefined i64 (i64.const 0x300000000))
  (global $exception i64 (i64.const 0x600000000))
  (global $scratch (mut i32) (i32.const 0)) ;; 64 bytes, of no function for long
  (global $arguments (mut i32) (i32.const 0)) ;; of a call of JavaScript: 3 values
  (global $work (mut i32) (i32.const 0)) ;; the values of records that are being read
  (global $schema (mut i32) (i32.const 0))
  (global $names (mut i32) (i32.const 0))
  (global $random (mut i64) (i64.const 0))
  (global $failed (mut i64) (i64.const 0)) ;; functions of guest.js
  (global $complain (mut i64) (i64.const 0))
  (global $answers (mut i32) (i32.const 0)) ;; what a record is called that no field holds
  @globals

  ;; ---- the message that is read: see $open

  (global $buffer (mut i32) (i32.const 0))
  (global $space (mut i32) (i32.const 0))
  (global $message (mut i32) (i32.const 0))
  (global $size (mut i32) (i32.const 0))
  (global $lists (mut i32) (i32.const 0)) ;; bytes that lists may still take: they don't overlap
  (global $texts (mut i32) (i32.const 0)) ;; bytes that texts may still take: shared ones count each time
  (global $wrong (mut i32) (i32.const 0)) ;; 1 it is no record, 2 there is an exception
  (global $list_at (mut i32) (i32.const 0))
  (global $stride (mut i32) (i32.const 0))

  ;; Whether n bytes are UTF-8: the shortest form, no surrogates.
  (func $utf8 (param $p i32) (param $n i32) (result i32)
    (local $end i32) (local $c i32) (local $more i32) (local $low i32) (local $high i32)
    (local.set $end (i32.add (local.get $p) (local.get $n)))
    (block $good
      (loop $next
        (br_if $good (i32.ge_u (local.get $p) (local.get $end)))
        (if (i32.ge_u (i32.sub (local.get $end) (local.get $p)) (i32.const 8))
          (then
            (if (i64.eqz (i64.and (i64.load align=1 (local.get $p)) (i64.const 0x8080808080808080)))
              (then
                (local.set $p (i32.add (local.get $p) (i32.const 8)))
                (br $next)))))
        (local.set $c (i32.load8_u (local.get $p)))
        (local.set $p (i32.add (local.get $p) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $c) (i32.const 0x80)))
        (if (i32.or (i32.lt_u (local.get $c) (i32.const 0xc2)) (i32.gt_u (local.get $c) (i32.const 0xf4)))
          (then (return (i32.const 0))))
        (local.set $more (i32.add (i32.const 1)
          (i32.add (i32.ge_u (local.get $c) (i32.const 0xe0)) (i32.ge_u (local.get $c) (i32.const 0xf0)))))
        (local.set $low (i32.const 0x80))
        (local.set $high (i32.const 0xbf))
        (if (i32.eq (local.get $c) (i32.const 0xe0)) (then (local.set $low (i32.const 0xa0))))
        (if (i32.eq (local.get $c) (i32.const 0xf0)) (then (local.set $low (i32.const 0x90))))
        (if (i32.eq (local.get $c) (i32.const 0xed)) (then (local.set $high (i32.const 0x9f))))
        (if (i32.eq (local.get $c) (i32.const 0xf4)) (then (local.set $high (i32.const 0x8f))))
        (if (i32.lt_u (i32.sub (local.get $end) (local.get $p)) (local.get $more)) (then (return (i32.const 0))))
        (loop $tail
          (local.set $c (i32.load8_u (local.get $p)))
          (local.set $p (i32.add (local.get $p) (i32.const 1)))
          (if (i32.or (i32.lt_u (local.get $c) (local.get $low)) (i32.gt_u (local.get $c) (local.get $high)))
            (then (return (i32.const 0))))
          (local.set $low (i32.const 0x80))
          (local.set $high (i32.const 0xbf))
          (local.set $more (i32.sub (local.get $more) (i32.const 1)))
          (br_if $tail (local.get $more)))
        (br $next)))
    (i32.const 1))

  (func $tag (param $v i64) (result i32)
    (i32.wrap_i64 (i64.shr_u (local.get $v) (i64.const 32))))

  (func $is_exception (param $v i64) (result i32)
    (i32.eq (call $tag (local.get $v)) (i32.const 6)))

  (func $is_text (param $v i64) (result i32)
    (i32.or (i32.eq (call $tag (local.get $v)) (i32.const -7)) (i32.eq (call $tag (local.get $v)) (i32.const -6))))

  (func $is_number (param $v i64) (result i32)
    (i32.or (i32.eqz (call $tag (local.get $v)))
      (i32.and (i32.ge_u (call $tag (local.get $v)) (i32.const 8)) (i32.lt_u (call $tag (local.get $v)) (i32.const -9)))))

  ;; A value that was made, unless there is no memory.
  (func $made (param $v i64) (result i64)
    (if (call $is_exception (local.get $v))
      (then
        (global.set $wrong (i32.const 2))
        (return (global.get $undefined))))
    (local.get $v))

  (func $text (param $p i32) (result i64)
    (local $off i32) (local $n i32)
    (local.set $off (i32.load align=1 (local.get $p)))
    (local.set $n (i32.load offset=4 align=1 (local.get $p)))
    (if (i32.or (global.get $wrong) (i32.eqz (local.get $n)))
      (then (local.set $n (i32.const 0)) (local.set $off (i32.const 0)))
      (else
        (if (i32.or
              (i64.gt_u (i64.add (i64.extend_i32_u (local.get $off)) (i64.extend_i32_u (local.get $n))) (i64.extend_i32_u (global.get $size)))
              (i32.gt_u (local.get $n) (global.get $texts)))
          (then
            (global.set $wrong (i32.const 1))
            (local.set $n (i32.const 0)))
          (else
            (global.set $texts (i32.sub (global.get $texts) (local.get $n)))
            (if (i32.eqz (call $utf8 (i32.add (global.get $message) (local.get $off)) (local.get $n)))
              (then (global.set $wrong (i32.const 1))))))))
    (call $made (call $JS_NewStringLen (global.get $context) (i32.add (global.get $message) (local.get $off)) (local.get $n))))

  ;; The number of a list's elements; the first is at $list_at, the next one $stride
  ;; bytes behind it.
  (func $list (param $p i32) (result i32)
    (local $off i32) (local $count i32) (local $bytes i64)
    (local.set $off (i32.load align=1 (local.get $p)))
    (local.set $count (i32.load offset=4 align=1 (local.get $p)))
    (global.set $stride (i32.load offset=8 align=1 (local.get $p)))
    (if (i32.or (global.get $wrong) (i32.eqz (local.get $count))) (then (return (i32.const 0))))
    (local.set $bytes (i64.mul (i64.extend_i32_u (local.get $count)) (i64.extend_i32_u (global.get $stride))))
    (if (i32.or (i32.lt_u (global.get $stride) (i32.const 8))
          (i32.or (i64.gt_u (local.get $bytes) (i64.extend_i32_u (global.get $lists)))
            (i64.gt_u (i64.add (i64.extend_i32_u (local.get $off)) (local.get $bytes)) (i64.extend_i32_u (global.get $size)))))
      (then
        (global.set $wrong (i32.const 1))
        (return (i32.const 0))))
    (global.set $lists (i32.sub (global.get $lists) (i32.wrap_i64 (local.get $bytes))))
    (global.set $list_at (i32.add (global.get $message) (local.get $off)))
    (local.get $count))

  ;; The array of a list: of the records that the schema has at $of, or of texts
  ;; when that is 0.
  (func $array (param $p i32) (param $of i32) (result i64)
    (local $count i32) (local $at i32) (local $stride i32) (local $values i32) (local $i i32) (local $v i64)
    (local.set $count (call $list (local.get $p)))
    (local.set $at (global.get $list_at))
    (local.set $stride (global.get $stride))
    (local.set $values (call $malloc (i32.shl (i32.add (local.get $count) (i32.const 1)) (i32.const 3))))
    (if (i32.eqz (local.get $values))
      (then
        (global.set $wrong (i32.const 2))
        (return (global.get $undefined))))
    (block $end
      (loop $next
        (br_if $end (i32.ge_u (local.get $i) (local.get $count)))
        (if (local.get $of)
          (then (local.set $v (call $record (local.get $of) (local.get $at) (local.get $stride))))
          (else (local.set $v (call $text (local.get $at)))))
        (i64.store (i32.add (local.get $values) (i32.shl (local.get $i) (i32.const 3))) (local.get $v))
        (local.set $at (i32.add (local.get $at) (local.get $stride)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $next (i32.eqz (global.get $wrong)))))
    (local.set $v (call $made (call $JS_NewArrayFrom (global.get $context) (local.get $i) (local.get $values))))
    (call $free (local.get $values))
    (local.get $v))

  ;; The object of the $have bytes at $p. The schema has at $of: its size, its number
  ;; of fields, the fields as kind, place, schema of the elements and name, and the
  ;; names as atoms.
  (func $record (param $of i32) (param $p i32) (param $have i32) (result i64)
    (local $size i32) (local $count i32) (local $values i32) (local $i i32) (local $field i32) (local $at i32) (local $kind i32) (local $v i64)
    (local.set $size (i32.load (local.get $of)))
    (local.set $count (i32.load offset=4 (local.get $of)))
    (local.set $values (global.get $work))
    (global.set $work (i32.add (global.get $work) (i32.shl (local.get $count) (i32.const 3))))
    (if (i32.lt_u (local.get $have) (local.get $size)) ;; what an older partner doesn't know is zero
      (then
        (memory.fill (global.get $work) (i32.const 0) (local.get $size))
        (memory.copy (global.get $work) (local.get $p) (local.get $have))
        (local.set $p (global.get $work))
        (global.set $work (i32.add (global.get $work) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8))))))
    (local.set $field (i32.add (local.get $of) (i32.const 8)))
    (loop $next
      (local.set $kind (i32.load (local.get $field)))
      (local.set $at (i32.add (local.get $p) (i32.load offset=4 (local.get $field))))
      (block $done
        (block $array
          (block $text
            (block $i32
              (block $u64
                (block $u32
                  (block $u16
                    (br_table $u16 $u32 $u64 $i32 $text $array (local.get $kind)))
                  (local.set $v (i64.load16_u align=1 (local.get $at)))
                  (br $done))
                (local.set $v (i64.load32_u align=1 (local.get $at)))
                (br_if $done (i64.lt_u (local.get $v) (i64.const 0x80000000)))
                (local.set $v (call $JS_NewNumber (global.get $context) (f64.convert_i64_u (local.get $v))))
                (br $done))
              (local.set $v (call $made (call $JS_NewBigUint64 (global.get $context) (i64.load align=1 (local.get $at)))))
              (br $done))
            (local.set $v (i64.load32_u align=1 (local.get $at)))
            (br $done))
          (local.set $v (call $text (local.get $at)))
          (br $done))
        (local.set $v (call $array (local.get $at) (call $element (local.get $field)))))
      (i64.store (i32.add (local.get $values) (i32.shl (local.get $i) (i32.const 3))) (local.get $v))
      (local.set $field (i32.add (local.get $field) (i32.const 16)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (local.get $count))))
    (global.set $work (local.get $values))
    (call $made (call $JS_NewObjectFrom (global.get $context) (local.get $count) (local.get $field) (local.get $values))))

  ;; The schema of a list's elements, 0 = texts.
  (func $element (param $field i32) (result i32)
    (local $of i32)
    (local.set $of (i32.load offset=8 (local.get $field)))
    (if (result i32) (local.get $of)
      (then (i32.add (global.get $schema) (local.get $of)))
      (else (i32.const 0))))

  ;; Reads a message as an object; undefined says that it is none, an exception that
  ;; there is no memory for it.
  (func $open (param $of i32) (param $at i32) (param $length i32) (param $request i32) (result i64)
    (local $fixed i32) (local $v i64)
    (local.set $of (i32.add (global.get $schema) (local.get $of)))
    (global.set $message (local.get $at))
    (global.set $size (local.get $length))
    (global.set $lists (local.get $length))
    (global.set $texts (i32.const @maxStrings))
    (global.set $wrong (i32.const 0))
    (if (i32.lt_u (local.get $length) (i32.const 8)) (then (return (global.get $undefined))))
    (if (i32.ne (i32.load (local.get $at)) (local.get $length)) (then (return (global.get $undefined))))
    (local.set $fixed (local.get $length))
    (if (local.get $request)
      (then
        (if (i32.lt_u (local.get $length) (i32.const 20)) (then (return (global.get $undefined))))
        (local.set $fixed (i32.load offset=16 (local.get $at)))
        (if (i32.or (i32.lt_u (local.get $fixed) (i32.const 20)) (i32.gt_u (local.get $fixed) (local.get $length)))
          (then (return (global.get $undefined))))))
    (local.set $v (call $record (local.get $of) (local.get $at) (local.get $fixed)))
    (if (global.get $wrong)
      (then
        (call $JS_FreeValue (global.get $context) (local.get $v))
        (return (select (global.get $exception) (global.get $undefined) (i32.eq (global.get $wrong) (i32.const 2))))))
    (local.get $v))

  ;; ---- the message that is written

  (global $verdict (mut i32) (i32.const 0))
  (global $out (mut i32) (i32.const 0))
  (global $out_size (mut i32) (i32.const 0))
  (global $out_space (mut i32) (i32.const 0))
  (global $full (mut i32) (i32.const 0))

  ;; Makes room for zeroed bytes, 8-aligned in the message.
  (func $reserve (param $n i64) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $out_size) (i32.const 7)) (i32.const -8)))
    (if (i32.or (global.get $full) (i64.gt_u (i64.add (i64.extend_i32_u (local.get $at)) (local.get $n)) (i64.extend_i32_u (global.get $out_space))))
      (then
        (global.set $full (i32.const 1))
        (return (i32.const 0))))
    (memory.fill (i32.add (global.get $out) (global.get $out_size)) (i32.const 0)
      (i32.sub (i32.add (local.get $at) (i32.wrap_i64 (local.get $n))) (global.get $out_size)))
    (global.set $out_size (i32.add (local.get $at) (i32.wrap_i64 (local.get $n))))
    (local.get $at))

  ;; Copies the text of a string to $to, where it has $space bytes, and returns its
  ;; length; -1 = no space, -2 = an exception. Half of a surrogate pair becomes U+FFFD.
  (func $copy_text (param $v i64) (param $to i32) (param $space i32) (result i32)
    (local $s i32) (local $n i32) (local $i i32)
    (local.set $s (call $JS_ToCStringLen2 (global.get $context) (global.get $scratch) (local.get $v) (i32.const 0)))
    (if (i32.eqz (local.get $s)) (then (return (i32.const -2))))
    (local.set $n (i32.load (global.get $scratch)))
    (if (i32.gt_u (local.get $n) (local.get $space))
      (then
        (call $JS_FreeCString (global.get $context) (local.get $s))
        (return (i32.const -1))))
    (memory.copy (local.get $to) (local.get $s) (local.get $n))
    (call $JS_FreeCString (global.get $context) (local.get $s))
    (call $mend (local.get $to) (local.get $n))
    (local.get $n))

  ;; Halves of surrogate pairs are all that QuickJS writes and UTF-8 doesn't have.
  (func $mend (param $p i32) (param $n i32)
    (local $end i32)
    (if (call $utf8 (local.get $p) (local.get $n)) (then (return)))
    (local.set $end (i32.add (local.get $p) (local.get $n)))
    (loop $next
      (if (i32.and (i32.eq (i32.load8_u (local.get $p)) (i32.const 0xed)) (i32.ge_u (i32.load8_u offset=1 (local.get $p)) (i32.const 0xa0)))
        (then
          (i32.store16 align=1 (local.get $p) (i32.const 0xbfef))
          (i32.store8 offset=2 (local.get $p) (i32.const 0xbd))))
      (local.set $p (i32.add (local.get $p) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $p) (local.get $end)))))

  ;; Writes a text and where it is; the result is 1 for an exception.
  (func $put_text (param $at i32) (param $v i64) (result i32)
    (local $n i32)
    (local.set $n (call $copy_text (local.get $v) (i32.add (global.get $out) (global.get $out_size)) (i32.sub (global.get $out_space) (global.get $out_size))))
    (if (i32.eq (local.get $n) (i32.const -2)) (then (return (i32.const 1))))
    (if (i32.eq (local.get $n) (i32.const -1)) (then (global.set $full (i32.const 1))))
    (if (i32.or (global.get $full) (i32.eqz (local.get $n))) (then (return (i32.const 0))))
    (i32.store (i32.add (global.get $out) (local.get $at)) (global.get $out_size))
    (i32.store offset=4 (i32.add (global.get $out) (local.get $at)) (local.get $n))
    (global.set $out_size (i32.add (global.get $out_size) (local.get $n)))
    (i32.const 0))

  ;; Throws what guest.js says about a value of a field; always 1.
  (func $refuse (param $name i32) (param $kind i32) (param $v i64) (result i32)
    (local $text i64)
    (local.set $text (call $JS_AtomToString (global.get $context) (local.get $name)))
    (i64.store (global.get $arguments) (local.get $text))
    (i64.store offset=8 (global.get $arguments) (i64.extend_i32_u (local.get $kind)))
    (i64.store offset=16 (global.get $arguments) (local.get $v))
    (call $JS_FreeValue (global.get $context)
      (call $JS_Call (global.get $context) (global.get $complain) (global.get $undefined) (i32.const 3) (global.get $arguments)))
    (call $JS_FreeValue (global.get $context) (local.get $text))
    (i32.const 1))

  ;; Writes an integer that lies between low and high; the result is 1 for another value.
  (func $put_number (param $at i32) (param $v i64) (param $low f64) (param $high f64) (param $short i32) (result i32)
    (local $f f64) (local $n i64)
    (if (i32.eqz (call $is_number (local.get $v))) (then (return (i32.const 1))))
    (drop (call $JS_ToFloat64 (global.get $context) (global.get $scratch) (local.get $v)))
    (local.set $f (f64.load (global.get $scratch)))
    (if (i32.eqz (i32.and (f64.eq (local.get $f) (f64.trunc (local.get $f)))
          (i32.and (f64.ge (local.get $f) (local.get $low)) (f64.le (local.get $f) (local.get $high)))))
      (then (return (i32.const 1))))
    (local.set $n (i64.trunc_sat_f64_s (local.get $f)))
    (local.set $at (i32.add (global.get $out) (local.get $at)))
    (if (i32.eqz (global.get $full))
      (then
        (if (local.get $short)
          (then (i64.store16 (local.get $at) (local.get $n)))
          (else (i64.store32 (local.get $at) (local.get $n))))))
    (i32.const 0))

  ;; Writes an array, of the records that the schema has at $of or of texts.
  (func $put_array (param $name i32) (param $at i32) (param $of i32) (param $v i64) (result i32)
    (local $count i64) (local $stride i32) (local $i i32) (local $to i32) (local $e i64) (local $bad i32)
    (if (i32.eqz (call $JS_IsArray (local.get $v))) (then (return (call $refuse (local.get $name) (i32.const 5) (local.get $v)))))
    (if (call $JS_GetLength (global.get $context) (local.get $v) (global.get $scratch)) (then (return (i32.const 1))))
    (local.set $count (i64.load (global.get $scratch)))
    (if (i64.eqz (local.get $count)) (then (return (i32.const 0))))
    (local.set $stride (i32.const 8))
    (if (local.get $of) (then (local.set $stride (i32.load (local.get $of)))))
    (local.set $to (call $reserve (i64.mul (local.get $count) (i64.extend_i32_u (local.get $stride)))))
    (if (global.get $full) (then (return (i32.const 0))))
    (local.set $at (i32.add (global.get $out) (local.get $at)))
    (i32.store (local.get $at) (local.get $to))
    (i64.store32 offset=4 (local.get $at) (local.get $count))
    (i32.store offset=8 (local.get $at) (local.get $stride))
    (loop $next
      (local.set $e (call $JS_GetPropertyUint32 (global.get $context) (local.get $v) (local.get $i)))
      (if (call $is_exception (local.get $e)) (then (return (i32.const 1))))
      (if (local.get $of)
        (then (local.set $bad (call $put_record (local.get $name) (local.get $of) (local.get $e) (local.get $to))))
        (else
          (if (call $is_text (local.get $e))
            (then (local.set $bad (call $put_text (local.get $to) (local.get $e))))
            (else (local.set $bad (call $refuse (local.get $name) (i32.const 4) (local.get $e)))))))
      (call $JS_FreeValue (global.get $context) (local.get $e))
      (if (i32.or (local.get $bad) (global.get $full)) (then (return (local.get $bad))))
      (local.set $to (i32.add (local.get $to) (local.get $stride)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i64.lt_u (i64.extend_i32_u (local.get $i)) (local.get $count))))
    (i32.const 0))

  ;; Writes the object of a record to the place $at of the message. What is undefined
  ;; is zero, but for what has to be said; another type, a number out of its range
  ;; and a property that the record doesn't have are refused. 1 = an exception.
  (func $put_record (param $name i32) (param $of i32) (param $object i64) (param $at i32) (result i32)
    (local $count i32) (local $i i32) (local $field i32) (local $atoms i32) (local $atom i32) (local $kind i32) (local $place i32) (local $v i64) (local $bad i32)
    (if (i32.ne (call $tag (local.get $object)) (i32.const -1))
      (then (return (call $refuse (local.get $name) (i32.const 6) (local.get $object)))))
    (local.set $count (i32.load offset=4 (local.get $of)))
    (local.set $field (i32.add (local.get $of) (i32.const 8)))
    (local.set $atoms (i32.add (local.get $field) (i32.shl (local.get $count) (i32.const 4))))
    (loop $next
      (local.set $kind (i32.load (local.get $field)))
      (local.set $place (i32.add (local.get $at) (i32.load offset=4 (local.get $field))))
      (local.set $atom (i32.load (i32.add (local.get $atoms) (i32.shl (local.get $i) (i32.const 2)))))
      (local.set $v (call $JS_GetProperty (global.get $context) (local.get $object) (local.get $atom)))
      (if (call $is_exception (local.get $v)) (then (return (i32.const 1))))
      (block $done
        (if (i32.eq (call $tag (local.get $v)) (i32.const 3))
          (then
            (br_if $done (i32.eqz (i32.load8_u offset=15 (local.get $field))))
            (return (call $refuse (local.get $atom) (local.get $kind) (local.get $v)))))
        (block $array
          (block $text
            (block $i32
              (block $u32
                (block $u16
                  (br_table $u16 $u32 $u32 $i32 $text $array (local.get $kind)))
                (local.set $bad (call $put_number (local.get $place) (local.get $v) (f64.const 0) (f64.const 65535) (i32.const 1)))
                (br $done))
              (local.set $bad (call $put_number (local.get $place) (local.get $v) (f64.const 0) (f64.const 4294967295) (i32.const 0)))
              (br $done))
            (local.set $bad (call $put_number (local.get $place) (local.get $v) (f64.const -2147483648) (f64.const 2147483647) (i32.const 0)))
            (br $done))
          (if (call $is_text (local.get $v))
            (then (if (call $put_text (local.get $place) (local.get $v)) (then (local.set $bad (i32.const 2)))))
            (else (local.set $bad (i32.const 1))))
          (br $done))
        (if (call $put_array (local.get $atom) (local.get $place) (call $element (local.get $field)) (local.get $v))
          (then (local.set $bad (i32.const 2)))))
      (if (i32.eq (local.get $bad) (i32.const 1))
        (then (drop (call $refuse (local.get $atom) (local.get $kind) (local.get $v)))))
      (call $JS_FreeValue (global.get $context) (local.get $v))
      (if (local.get $bad) (then (return (i32.const 1))))
      (local.set $field (i32.add (local.get $field) (i32.const 16)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (local.get $count))))
    (call $check_names (local.get $object) (local.get $atoms) (local.get $count)))

  ;; Refuses an object with a property that is none of the atoms.
  (func $check_names (param $object i64) (param $atoms i32) (param $count i32) (result i32)
    (local $tab i32) (local $n i32) (local $i i32) (local $j i32) (local $atom i32) (local $bad i32)
    (if (call $JS_GetOwnPropertyNames (global.get $context) (global.get $scratch) (i32.add (global.get $scratch) (i32.const 8)) (local.get $object) (i32.const 17)) ;; enumerable, named by texts
      (then (return (i32.const 1))))
    (local.set $tab (i32.load (global.get $scratch)))
    (local.set $n (i32.load offset=8 (global.get $scratch)))
    (block $end
      (loop $next
        (br_if $end (i32.ge_u (local.get $i) (local.get $n)))
        (local.set $atom (i32.load offset=4 (i32.add (local.get $tab) (i32.shl (local.get $i) (i32.const 3)))))
        (local.set $j (i32.const 0))
        (block $known
          (loop $look
            (br_if $known (i32.eq (local.get $atom) (i32.load (i32.add (local.get $atoms) (i32.shl (local.get $j) (i32.const 2))))))
            (local.set $j (i32.add (local.get $j) (i32.const 1)))
            (br_if $look (i32.lt_u (local.get $j) (local.get $count))))
          (local.set $bad (call $refuse (local.get $atom) (i32.const 7) (global.get $undefined)))
          (br $end))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (call $JS_FreePropertyEnum (global.get $context) (local.get $tab) (local.get $n))
    (local.get $bad))

  ;; Writes a message that is no verdict; 1 = an exception. $written is its length, 0
  ;; = it has no space. It may be called while a verdict is written, by a getter.
  (global $written (mut i32) (i32.const 0))
  (func $write_message (param $of i32) (param $object i64) (param $to i32) (param $space i32) (result i32)
    (local $out i32) (local $size i32) (local $out_space i32) (local $full i32) (local $bad i32)
    (local.set $out (global.get $out))
    (local.set $size (global.get $out_size))
    (local.set $out_space (global.get $out_space))
    (local.set $full (global.get $full))
    (call $begin (local.get $to) (local.get $space))
    (local.set $of (i32.add (global.get $schema) (local.get $of)))
    (drop (call $reserve (i64.extend_i32_u (i32.load (local.get $of)))))
    (i32.store16 offset=4 (local.get $to) (i32.const @minor))
    (local.set $bad (call $put_record (global.get $answers) (local.get $of) (local.get $object) (i32.const 0)))
    (i32.store (local.get $to) (global.get $out_size))
    (global.set $written (select (i32.const 0) (global.get $out_size) (global.get $full)))
    (global.set $out (local.get $out))
    (global.set $out_size (local.get $size))
    (global.set $out_space (local.get $out_space))
    (global.set $full (local.get $full))
    (local.get $bad))

  (func $begin (param $to i32) (param $space i32)
    (global.set $out (local.get $to))
    (global.set $out_space (local.get $space))
    (global.set $out_size (i32.const 0))
    (global.set $full (i32.const 0)))

  ;; ---- JavaScript

  ;; Calls a function with one argument, which it takes over, and runs the jobs that
  ;; this has left.
  (func $run (param $f i64) (param $v i64) (result i64)
    (local $r i64) (local $jobs i32)
    (i64.store (global.get $arguments) (local.get $v))
    (local.set $r (call $JS_Call (global.get $context) (local.get $f) (global.get $undefined) (i32.const 1) (global.get $arguments)))
    (call $JS_FreeValue (global.get $context) (local.get $v))
    (loop $jobs
      (local.set $jobs (call $JS_ExecutePendingJob (global.get $runtime) (global.get $scratch)))
      (br_if $jobs (i32.gt_s (local.get $jobs) (i32.const 0))))
    (if (i32.lt_s (local.get $jobs) (i32.const 0))
      (then
        (call $JS_FreeValue (global.get $context) (local.get $r))
        (return (global.get $exception))))
    (local.get $r))

  ;; What a hook returns when JavaScript has thrown: guest.js logs it and says which code.
  (func $fail (result i64)
    (local $v i64) (local $f f64)
    (local.set $v (call $run (global.get $failed) (call $JS_GetException (global.get $context))))
    (if (result i64) (i32.and (i32.eqz (call $tag (local.get $v))) (i64.ne (local.get $v) (i64.const 0)))
      (then (local.get $v))
      (else
        (call $JS_FreeValue (global.get $context) (local.get $v))
        (i64.const 1))))

  ;; A hook, from a request to its result. The schema has the request at $of and an
  ;; answer at $item; $handler is guest.js's, and gives all the answers or undefined.
  (func $hook (param $of i32) (param $item i32) (param $space i32) (param $handler i64) (param $length i32) (result i64)
    (local $v i64) (local $bad i32)
    (local.set $v (call $open (local.get $of) (global.get $buffer) (local.get $length) (i32.const 1)))
    (if (call $is_exception (local.get $v)) (then (return (call $fail))))
    (if (i64.eq (local.get $v) (global.get $undefined)) (then (return (i64.const @notARecord))))
    (global.set $random (i64.load offset=24 (global.get $buffer)))
    (local.set $v (call $run (local.get $handler) (local.get $v)))
    (if (call $is_exception (local.get $v)) (then (return (call $fail))))
    (if (i64.eq (local.get $v) (global.get $undefined)) (then (return (i64.const 0))))
    (call $begin (global.get $verdict) (local.get $space))
    (drop (call $reserve (i64.const 32)))
    (i32.store16 offset=4 (global.get $out) (i32.const @minor))
    (local.set $bad (call $put_array (global.get $answers) (i32.const 16) (i32.add (global.get $schema) (local.get $item)) (local.get $v)))
    (call $JS_FreeValue (global.get $context) (local.get $v))
    (if (local.get $bad) (then (return (call $fail))))
    (if (global.get $full) (then (return (i64.const @noSpace))))
    (if (i32.eqz (i32.load offset=20 (global.get $out))) (then (return (i64.const 0))))
    (i32.store (global.get $out) (global.get $out_size))
    (call $at (global.get $out) (global.get $out_size)))

  (func $at (param $p i32) (param $n i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get $p)) (i64.const 32)) (i64.extend_i32_u (local.get $n))))

  ;; Gives the configuration to guest.js, which answers "" or what is wrong.
  (func $configured (param $handler i64) (param $length i32) (result i64)
    (local $v i64) (local $n i32)
    (local.set $v (call $run (local.get $handler) (call $JS_NewStringLen (global.get $context) (global.get $buffer) (local.get $length))))
    (local.set $n (i32.const -2))
    (if (call $is_text (local.get $v))
      (then (local.set $n (call $copy_text (local.get $v) (global.get $verdict) (i32.const @maxVerdict)))))
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (unreachable))) ;; no memory is left
    (call $JS_FreeValue (global.get $context) (local.get $v))
    (if (result i64) (local.get $n)
      (then (call $at (global.get $verdict) (local.get $n)))
      (else (i64.const 0))))

  ;; ---- functions for JavaScript; $argv has as many values as the function takes

  ;; Math.random: splitmix64 from the seed of the request, so that the same question
  ;; has the same answer in every instance.
  (func $random (param $c i32) (param $this i64) (param $argc i32) (param $argv i32) (result i64)
    (local $z i64)
    (global.set $random (i64.add (global.get $random) (i64.const 0x9e3779b97f4a7c15)))
    (local.set $z (global.get $random))
    (local.set $z (i64.mul (i64.xor (local.get $z) (i64.shr_u (local.get $z) (i64.const 30))) (i64.const 0xbf58476d1ce4e5b9)))
    (local.set $z (i64.mul (i64.xor (local.get $z) (i64.shr_u (local.get $z) (i64.const 27))) (i64.const 0x94d049bb133111eb)))
    (local.set $z (i64.xor (local.get $z) (i64.shr_u (local.get $z) (i64.const 31))))
    (call $JS_NewNumber (global.get $context) (f64.mul (f64.convert_i64_u (i64.shr_u (local.get $z) (i64.const 11))) (f64.const 0x1p-53))))

  ;; Writes a text to the plugin's log.
  (func $stderr (param $c i32) (param $this i64) (param $argc i32) (param $argv i32) (result i64)
    (local $s i32)
    (local.set $s (call $JS_ToCStringLen2 (global.get $context) (i32.add (global.get $scratch) (i32.const 4)) (i64.load (local.get $argv)) (i32.const 0)))
    (if (i32.eqz (local.get $s)) (then (return (global.get $exception))))
    (i32.store (global.get $scratch) (local.get $s))
    (drop (call $fd_write (i32.const 2) (global.get $scratch) (i32.const 1) (i32.add (global.get $scratch) (i32.const 8))))
    (call $JS_FreeCString (global.get $context) (local.get $s))
    (global.get $undefined))

  ;; The text of bytes, or undefined if they are none.
  (func $utf8_text (param $c i32) (param $this i64) (param $argc i32) (param $argv i32) (result i64)
    (local $p i32) (local $n i32)
    (local.set $p (call $JS_GetUint8Array (global.get $context) (global.get $scratch) (i64.load (local.get $argv))))
    (if (i32.eqz (local.get $p)) (then (return (global.get $exception))))
    (local.set $n (i32.load (global.get $scratch)))
    (if (i32.eqz (call $utf8 (local.get $p) (local.get $n))) (then (return (global.get $undefined))))
    (call $JS_NewStringLen (global.get $context) (local.get $p) (local.get $n)))

  ;; The bytes of a string or of a Uint8Array. $taken is their number, $borrowed what
  ;; $JS_FreeCString has to give back. 0 = an exception.
  (global $taken (mut i32) (i32.const 0))
  (global $borrowed (mut i32) (i32.const 0))
  (func $take (param $v i64) (result i32)
    (local $p i32)
    (global.set $borrowed (i32.const 0))
    (if (call $is_text (local.get $v))
      (then
        (local.set $p (call $JS_ToCStringLen2 (global.get $context) (global.get $scratch) (local.get $v) (i32.const 0)))
        (global.set $borrowed (local.get $p))
        (global.set $taken (i32.load (global.get $scratch)))
        (if (local.get $p) (then (call $mend (local.get $p) (global.get $taken)))))
      (else
        (local.set $p (call $JS_GetUint8Array (global.get $context) (global.get $scratch) (local.get $v)))
        (global.set $taken (i32.load (global.get $scratch)))))
    (local.get $p))

  (func $number (param $v i64) (result i64)
    (if (call $JS_ToFloat64 (global.get $context) (global.get $scratch) (local.get $v)) (then (return (i64.const 0))))
    (i64.trunc_sat_f64_s (f64.load (global.get $scratch))))

  (func $bigint (param $v i64) (result i64)
    (if (call $JS_ToBigInt64 (global.get $context) (global.get $scratch) (local.get $v)) (then (return (i64.const 0))))
    (i64.load (global.get $scratch)))

  @natives

  ;; ---- the contract

  (func (export "souk_abi_1"))

  (func (export "souk_buffer") (param $min i32) (result i32)
    (if (i32.gt_u (local.get $min) (i32.const @maxRequest)) (then (return (i32.const 0))))
    (if (i32.gt_u (local.get $min) (global.get $space))
      (then
        (call $free (global.get $buffer))
        (global.set $space (i32.const 0))
        (global.set $buffer (call $malloc (local.get $min)))
        (if (global.get $buffer) (then (global.set $space (local.get $min))))))
    (global.get $buffer))

  ;; Sets a property of $object to a function, by the name at $name in $names.
  (func $define (param $object i64) (param $name i32) (param $arguments i32) (param $f funcref)
    (local.set $name (i32.add (global.get $names) (local.get $name)))
    (drop (call $JS_SetPropertyStr (global.get $context) (local.get $object) (local.get $name)
      (call $JS_NewCFunction2 (global.get $context) (table.grow $table (local.get $f) (i32.const 1)) (local.get $name) (local.get $arguments) (i32.const 0) (i32.const 0)))))

  ;; The names of all fields become atoms.
  (func $atoms
    (local $of i32) (local $end i32) (local $count i32) (local $atoms i32) (local $name i32)
    (local.set $of (i32.add (global.get $schema) (i32.const 8)))
    (local.set $end (i32.add (global.get $schema) (i32.const @schemaSize)))
    (block $end
      (loop $record
        (br_if $end (i32.ge_u (local.get $of) (local.get $end)))
        (local.set $count (i32.load offset=4 (local.get $of)))
        (local.set $of (i32.add (local.get $of) (i32.const 8)))
        (local.set $atoms (i32.add (local.get $of) (i32.shl (local.get $count) (i32.const 4))))
        (loop $field
          (local.set $name (i32.load offset=12 (local.get $of))) ;; place, length, whether it has to be said
          (i32.store (local.get $atoms) (call $JS_NewAtomLen (global.get $context)
            (i32.add (global.get $names) (i32.and (local.get $name) (i32.const 0xffff)))
            (i32.and (i32.shr_u (local.get $name) (i32.const 16)) (i32.const 0xff))))
          (local.set $atoms (i32.add (local.get $atoms) (i32.const 4)))
          (local.set $of (i32.add (local.get $of) (i32.const 16)))
          (local.set $count (i32.sub (local.get $count) (i32.const 1)))
          (br_if $field (local.get $count)))
        (local.set $of (i32.and (i32.add (local.get $atoms) (i32.const 7)) (i32.const -8)))
        (br $record))))

  (func (export "_initialize")
    (local $source i32) (local $object i64) (local $v i64)
    (call $libc_initialize)
    (global.set $runtime (call $JS_NewRuntime))
    (call $JS_SetMaxStackSize (global.get $runtime) (i32.const 0x80000)) ;; half of what the module has
    (global.set $context (call $JS_NewContextRaw (global.get $runtime)))
    ;; Not those that show when memory is collected, or how long something takes.
    (drop (call $JS_AddIntrinsicBaseObjects (global.get $context)))
    (drop (call $JS_AddIntrinsicDate (global.get $context)))
    (drop (call $JS_AddIntrinsicEval (global.get $context)))
    (drop (call $JS_AddIntrinsicRegExp (global.get $context)))
    (drop (call $JS_AddIntrinsicJSON (global.get $context)))
    (drop (call $JS_AddIntrinsicProxy (global.get $context)))
    (drop (call $JS_AddIntrinsicMapSet (global.get $context)))
    (drop (call $JS_AddIntrinsicTypedArrays (global.get $context)))
    (drop (call $JS_AddIntrinsicPromise (global.get $context)))
    (drop (call $JS_AddIntrinsicBigInt (global.get $context)))
    (drop (call $JS_AddIntrinsicAToB (global.get $context)))
    (global.set $scratch (call $malloc (i32.const 64)))
    (global.set $arguments (call $malloc (i32.const 24)))
    (global.set $work (call $malloc (i32.const 0x2000)))
    (global.set $verdict (call $malloc (i32.const @verdictSpace)))
    (global.set $schema (call $malloc (i32.const @schemaSize)))
    (memory.init $schema (global.get $schema) (i32.const 0) (i32.const @schemaSize))
    (global.set $names (call $malloc (i32.const @namesSize)))
    (memory.init $names (global.get $names) (i32.const 0) (i32.const @namesSize))
    (call $atoms)
    (global.set $answers (call $JS_NewAtomLen (global.get $context) (i32.add (global.get $names) (i32.const @answerName)) (i32.const 9)))
    (local.set $source (call $malloc (i32.const @sourceSpace)))
    (memory.init $source (local.get $source) (i32.const 0) (i32.const @sourceSize))
    (i32.store8 offset=@sourceSize (local.get $source) (i32.const 0))
    (local.set $object (call $JS_NewObject (global.get $context)))
    @definitions
    (local.set $v (call $JS_Eval (global.get $context) (local.get $source) (i32.const @sourceSize) (i32.add (global.get $names) (i32.const @fileName)) (i32.const 0)))
    (call $free (local.get $source))
    (if (i32.eqz (call $is_exception (local.get $v)))
      (then (local.set $v (call $run (local.get $v) (local.get $object)))))
    (if (call $is_exception (local.get $v))
      (then
        (i64.store (global.get $arguments) (call $JS_GetException (global.get $context)))
        (drop (call $stderr (i32.const 0) (i64.const 0) (i32.const 1) (global.get $arguments)))
        (unreachable)))
    (global.set $failed (call $JS_GetPropertyUint32 (global.get $context) (local.get $v) (i32.const 0)))
    (global.set $complain (call $JS_GetPropertyUint32 (global.get $context) (local.get $v) (i32.const 1)))
    @handlers
    )

  @hooks

  ;; What quickjs.wasm imports for functions that nothing here calls: it has them in
  ;; its table. There is no time zone but UTC.
  (func (export "host_get_timezone_offset") (param i32 i32) (result i32) (i32.const 0))
  (func (export "host_interrupt") (result i32) (i32.const 0))
  (func (export "host_promise_rejection") (param i32 i32 i32))
  (func (export "host_module_normalize") (param i32 i32) (result i32) (i32.const 0))
  (func (export "host_module_load") (param i32 i32) (result i32) (i32.const 0))
  (func (export "host_call") (param i32 i32 i32 i32 i32) (result i32) (i32.const 0)))
