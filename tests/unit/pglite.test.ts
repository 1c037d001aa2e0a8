import { constants, runInThisContext } from "node:vm";
import { expect, test } from "vitest";
import { whyNotLoaded } from "../../src/client/pglite.ts";

/** What `import()` ends with in a VM, as test runners make them; by default in one that knows none. */
async function importInVm(loader?: typeof constants.USE_MAIN_CONTEXT_DEFAULT_LOADER) {
  const options = loader === undefined ? {} : { importModuleDynamically: loader };
  const imported: unknown = runInThisContext("import('not-there-at-all')", options);
  return Promise.resolve(imported).catch((error: unknown) => error);
}

test("a runner whose VM has no import() is named as the cause, with the flag", async () => {
  const message = whyNotLoaded(await importInVm());
  expect(message).toContain("a VM without import()");
  expect(message).toContain("NODE_OPTIONS=--experimental-vm-modules");
  expect(message).not.toContain("install");
});

test("packages that are not there are to be installed, and another cause is told as it is", async () => {
  const missing = await importInVm(constants.USE_MAIN_CONTEXT_DEFAULT_LOADER);
  expect(whyNotLoaded(missing)).toContain("@electric-sql/pglite-pgvector: install them");
  expect(whyNotLoaded(new Error("a wasm file is cut short"))).toBe(
    "the embedded database cannot be loaded: a wasm file is cut short",
  );
});
