// Makes a component of the contract's WIT, as those would who bridge it: what the
// parser refuses ends with its complaint, else the world comes back as it was
// understood. node check.js FILE WORLD
import { readFileSync } from "node:fs";
import { componentEmbed, componentNew, componentWit } from "@bytecodealliance/jco-transpile/wasm-tools";

const [file, world] = process.argv.slice(2);
const core = await componentEmbed({ dummy: true, witSource: readFileSync(file, "utf8"), world });
console.log(await componentWit(await componentNew(core, [])));
