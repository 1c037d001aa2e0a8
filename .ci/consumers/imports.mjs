// Loads every entry point both ways, but for those it is given, and says what that did beside loading code:
// nothing is expected.
import childProcess from "node:child_process";
import dns from "node:dns";
import fs from "node:fs";
import { createRequire, syncBuiltinESMExports } from "node:module";
import net from "node:net";

const require = createRequire(import.meta.url);
const { exports } = require("meta-agent-db/package.json");
const without = new Set(process.argv.slice(2));
const entries = Object.keys(exports).filter(
  (entry) => exports[entry].import && !without.has(entry),
);
const done = [];
const watch = (object, names, label) => {
  for (const name of names) {
    const real = object[name];
    object[name] = (...given) => {
      const path = String(given[0]);
      if (label !== "file" || !/\.[cm]?js$|package\.json$/.test(path)) {
        done.push(`${label} ${name} ${path}`);
      }
      return real.apply(object, given);
    };
  }
};
watch(fs, ["readFileSync", "openSync", "readdirSync", "writeFileSync", "mkdirSync"], "file");
watch(fs, ["open", "readFile", "writeFile"], "file");
watch(fs.promises, ["open", "readFile", "writeFile"], "file");
watch(net, ["connect", "createConnection", "createServer"], "net");
watch(net.Socket.prototype, ["connect"], "net");
watch(dns, ["lookup", "resolve"], "dns");
watch(childProcess, ["spawn", "spawnSync", "execFile", "execFileSync"], "process");
syncBuiltinESMExports();
process.env = new Proxy(process.env, {
  get(env, name) {
    // Node's loader reads its own.
    if (!/^(NODE|WATCH)_/.test(String(name))) done.push(`variable ${String(name)}`);
    return env[name];
  },
  ownKeys: (env) => (done.push("all variables"), Reflect.ownKeys(env)),
});

const names = (module) =>
  Object.keys(module).filter((name) => !/^(default|module.exports|__esModule)$/.test(name));
for (const entry of entries) {
  const name = `meta-agent-db${entry.slice(1)}`;
  const [imported, required] = [await import(name), require(name)].map(names);
  if (imported.length === 0 || imported.toSorted().join() !== required.toSorted().join()) {
    done.push(`${name} exports ${imported.join()} and, by require, ${required.join()}`);
  }
}
if (done.length > 0)
  throw new Error(`loading the entry points did more than that:\n${done.join("\n")}`);
