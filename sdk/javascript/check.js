// What engine.wat does with a plugin's answers, for the tests of a plugin in Node: it
// refuses the same values with the same sentences.
import { records } from "./abi.js";
import { complain } from "./guest.js";

const ranges = { u16: [0, 0xffff], u32: [0, 0xffffffff], i32: [-0x80000000, 0x7fffffff] };
const kinds = ["u16", "u32", "u64", "i32", "text", "list"];

// check throws unless value is a record.
export function check(record, value, name = "an answer") {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) complain(name, 6, value);
  const { fields } = records[record];
  for (const f of fields) {
    const v = value[f.name];
    const kind = kinds.indexOf(f.kind === "texts" ? "list" : f.kind);
    if (v === undefined && !f.said) continue;
    if (f.kind === "text") {
      if (typeof v !== "string") complain(f.name, kind, v);
    } else if (f.kind === "list" || f.kind === "texts") {
      if (!Array.isArray(v)) complain(f.name, kind, v);
      for (const e of v) {
        if (f.kind === "list") check(f.of, e, f.name);
        else if (typeof e !== "string") complain(f.name, 4, e);
      }
    } else {
      const [low, high] = ranges[f.kind];
      if (!Number.isInteger(v) || v < low || v > high) complain(f.name, kind, v);
    }
  }
  for (const key of Object.keys(value)) {
    if (!fields.some((f) => f.name === key)) complain(key, 7);
  }
}
