import { readFileSync } from "node:fs";
import { join, posix } from "node:path";
import { expect, inject, test } from "vitest";
import * as z from "zod";

// What the compiler says of the public face, in words short enough to be read as a diff.
const declarations = new Map<string, string>();

test("docs/api.md lists every public name with its type (update it with vitest -u)", async () => {
  await expect(report()).toMatchFileSnapshot("../../docs/api.md");
});

test("nothing public is of type any", () => {
  report();
  expect(declarations.size).toBeGreaterThan(20);
  for (const [module, text] of declarations) expect(text, module).not.toMatch(/\bany\b/);
});

/** The entry points with the modules they give, then each of these modules once. */
function report(): string {
  const { exports } = z
    .object({ exports: z.record(z.string(), z.unknown()) })
    .parse(JSON.parse(readFileSync("package.json", "utf8")));
  const entries = Object.entries(exports).flatMap(([path, target]) => {
    const [, module] = /"\.\/dist\/(?:esm\/)?([\w/-]+)\.d\.ts"/.exec(JSON.stringify(target)) ?? [];
    return module === undefined
      ? []
      : [`- \`${posix.join("meta-agent-db", path)}\`: ${given(module)}`];
  });
  const modules = [...declarations].toSorted(([one], [other]) => (one < other ? -1 : 1));
  return [
    "# Public names and their types",
    "Made by the compiler and kept by a test, so that a change of the public face shows as a diff. Columns read as they are declared; of long inferred types the number of members is told, since they follow from the columns.",
    entries.join("\n"),
    ...modules.map(([module, text]) => `## ${module}\n\n\`\`\`ts\n${readable(text)}\`\`\``),
    "",
  ].join("\n\n");
}

/** In words, what a module gives: all of some, of others what is named. */
function given(module: string): string {
  const text = declared(module);
  const parts = [...text.matchAll(/^export (?:type )?(\*|\{[^}]*\}) from "(.+)\.ts";$/gm)].map(
    ([, what = "", path = ""]) => {
      const from = posix.join(posix.dirname(module), path);
      if (what === "*") return given(from);
      const names = [...what.matchAll(/\w+/g)].flatMap(([word]) => (word === "type" ? [] : word));
      declare(from, names);
      return `${names.join(", ")} of ${from}`;
    },
  );
  const own = text.replaceAll(/^(import|export (type )?[*{]).*\n/gm, "");
  if (own.trim() !== "") {
    declarations.set(module, own);
    parts.unshift(module);
  }
  return parts.join("; ");
}

/** Comments begin a line in what the compiler emits; the last may name a map. */
const declared = (module: string) =>
  readFileSync(join(inject("built"), "dist", "esm", `${module}.d.ts`), "utf8").replaceAll(
    /^ *\/\*\*[^]*?\*\/\n|^\/\/# .*/gm,
    "",
  );

/** Adds what a module gives by name, unless it gives all of it elsewhere. */
function declare(module: string, names: readonly string[]): void {
  const statements = declared(module).split(/^(?=export |declare |interface |type )/m);
  for (const name of names) {
    const known = declarations.get(module) ?? "";
    const isIt = new RegExp(`^export (?:declare )?(?:\\w+ )+${name}\\b`);
    const found = statements.filter((statement) => isIt.test(statement));
    if (found.length === 0) throw new Error(`${module} does not declare ${name}`);
    if (!known.includes(found.join(""))) declarations.set(module, known + found.join(""));
  }
}

/** Declarations without the ORM's builders and without what can be read elsewhere. */
function readable(text: string): string {
  let short = text
    .replaceAll(/import\("[^"]+"\)\./g, "")
    .replaceAll(/^export (declare )?/gm, "")
    .replaceAll("    ", "  ")
    .replaceAll(/PgCustomColumnBuilder<\{[^{}]*\bdata: ([^;]+);[^{}]*\}>/g, "custom($1)")
    .replaceAll(/PgTextBuilderInitial<[^<>[]+, \[string, \.\.\.string\[\]\]>/g, "text")
    .replaceAll(/PgTextBuilderInitial<[^<>[]+, \[([^\]]+)\]>/g, "text($1)")
    .replaceAll(/PgNumericNumberBuilderInitial<[^<>]+>/g, "numeric(number)")
    .replaceAll(/PgNumericBuilderInitial<[^<>]+>/g, "numeric(string)")
    .replaceAll(/PgVectorBuilderInitial<[^<>]+, (\d+)>/g, "vector($1)")
    .replaceAll(/ReferenceBuilder<"\w+">/g, "uuid")
    .replaceAll(/Pg(\w+?)(?:String)?BuilderInitial<[^<>]+>/g, (_, kind: string) =>
      kind.toLowerCase(),
    );
  for (let before = ""; before !== short;) {
    before = short;
    short = short
      .replaceAll(/\bNotNull<([^<>]+)>/g, "$1.notNull")
      .replaceAll(/\bHasDefault<([^<>]+)>/g, "$1.default")
      .replaceAll(/ReturnType<\(\) => ([^<>]+)>/g, "$1");
  }
  return counted(short);
}

/** Inferred object types of more than eight members become their number; what is declared stays. */
function counted(text: string): string {
  const [short, lines]: [string[], string[]] = [[], text.split("\n")];
  for (let line = lines.shift(); line !== undefined; line = lines.shift()) {
    const indent = " ".repeat(line.search(/\S|$/));
    const end = lines.findIndex((other) => other.startsWith(`${indent}}`));
    const own = new RegExp(`^${indent}  [^ }]`);
    const members = lines.slice(0, end).filter((other) => own.test(other)).length;
    if (members > 8 && /(: |<|=> )\{$/.test(line) && !/OwnedTable<|Relations</.test(line)) {
      const [last = ""] = lines.splice(0, end + 1).slice(-1);
      // It may open the next one.
      lines.unshift(`${line} …${members} members ${last.trimStart()}`);
    } else {
      short.push(line);
    }
  }
  return short.join("\n");
}
