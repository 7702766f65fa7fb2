;; A guest that takes a page of memory for each question and never gives it back. It
;; abstains.
(module
  (memory (export "memory") 18)
  (func (export "souk_abi_1"))
  (func (export "souk_buffer") (param i32) (result i32) (i32.const 131072))
  (func (export "entitle") (param i32) (result i64)
    (drop (memory.grow (i32.const 1)))
    (i64.const 0)))
