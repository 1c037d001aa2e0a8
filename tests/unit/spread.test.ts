import { readFile, readdir } from "node:fs/promises";
import { expect, test } from "vitest";

/** What sends SQL over the log, file by file. */
async function sources(): Promise<[file: string, text: string][]> {
  const files = (await readdir("src", { recursive: true })).filter((file) =>
    /^(fleet|ingest|client)\b.*\.ts$/.test(file),
  );
  return Promise.all(
    files.map(async (file): Promise<[string, string]> => [
      file,
      await readFile(`src/${file}`, "utf8"),
    ]),
  );
}

/** Of each place that a pattern finds, its file and line. */
const places = (texts: readonly [string, string][], pattern: RegExp): string[] =>
  texts.flatMap(([file, text]) =>
    [...text.matchAll(pattern)].map(
      ({ index, 0: found }) => `${file}:${text.slice(0, index).split("\n").length} ${found}`,
    ),
  );

test("no statement on log or embeddings names a target of ON CONFLICT: on a cluster their keys have two columns", async () => {
  const texts = (await sources()).filter(([, text]) =>
    /LOG\b|EMBEDDINGS|execution_(logs|embeddings)/.test(text),
  );
  expect(places(texts, /on conflict \(id\)/gi)).toEqual([]);
});

test("a statement names log and embeddings as the cluster has them told", async () => {
  // What writes is told its organization by `ofOwn`, or has it in its rows.
  const written =
    /(?:insert into|update|delete from) public\.(agent_execution_logs|execution_embeddings)/;
  const bare = (await sources()).map(([file, text]): [string, string] => [
    file,
    file === "client/spread.ts" ? "" : text.replace(new RegExp(written, "g"), ""),
  ]);
  expect(
    places(bare, /(?:from|join) public\.(?:agent_execution_logs|execution_embeddings)/g),
  ).toEqual([]);
});

test("a change of the log or of embeddings says whose rows", async () => {
  const changing =
    /(?:update|delete from) public\.(?:agent_execution_logs|execution_embeddings) as (\w+)/g;
  const changes = (await sources()).flatMap(([file, text]) =>
    [...text.matchAll(changing)].map(({ index, 1: alias }) => ({
      file,
      says: text.slice(index, index + 800).includes(`ofOwn("${alias}")`),
    })),
  );
  expect(changes.length).toBeGreaterThan(3);
  expect(changes.filter(({ says }) => !says)).toEqual([]);
});
