import { readFile, readdir } from "node:fs/promises";
import { join, posix, resolve } from "node:path";
import { describe, expect, inject, test } from "vitest";
import packageJson from "../../package.json" with { type: "json" };

interface Declaration {
  name: string;
  file: string;
  documented: boolean;
}

const DECLARATION =
  /^(.*\*\/\n)?export (?:declare )?(?:const|function|class|interface|type) (\w+)/gm;
const RE_EXPORT = /^export (?:type )?(\*|\{[^}]*\}) from "(.+)\.ts";/gm;

// What an editor shows is what the compiler emits.
describe("the declarations", () => {
  const directory = join(inject("built"), "dist", "esm");
  const read = (file: string) => readFile(join(directory, file), "utf8");

  const entries = Object.values(packageJson.exports).flatMap((target) =>
    typeof target === "string" ? [] : [posix.relative("dist/esm", target.import.types)],
  );

  /** What a file exports, its re-exports among it. */
  async function exportsOf(file: string): Promise<Declaration[]> {
    const text = await read(file);
    const own = [...text.matchAll(DECLARATION)].map(([, comment, name = ""]): Declaration => ({
      name,
      file,
      documented: comment !== undefined,
    }));
    const others = [...text.matchAll(RE_EXPORT)].map(async ([, names = "", from = ""]) => {
      const all = await exportsOf(posix.join(posix.dirname(file), `${from}.d.ts`));
      const list = names.match(/\w+/g);
      return list ? all.filter(({ name }) => list.includes(name)) : all;
    });
    return [...own, ...(await Promise.all(others)).flat()];
  }

  test.each(entries)("every name of %s has a comment that shows in an editor", async (file) => {
    const declarations = await exportsOf(file);
    const names = declarations.map(({ name }) => name);
    const module: object = await import(resolve("src", file.replace(".d.ts", ".ts")));
    // The parts of a destructuring have no comments: the compiler drops them.
    expect(names).toEqual(expect.arrayContaining(Object.keys(module)));
    expect(declarations.filter(({ documented }) => !documented)).toEqual([]);
  });

  test("none says any", async () => {
    const files = await readdir(directory, { recursive: true });
    for (const file of files.filter((name) => name.endsWith(".d.ts"))) {
      const code = (await read(file)).replaceAll(/\/\*[^]*?\*\/|"[^"\n]*"/g, "");
      expect(code, file).not.toMatch(/\bany\b/);
    }
  });
});
