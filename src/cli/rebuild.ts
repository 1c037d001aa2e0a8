import { type EmbeddingIndexRebuild, rebuildEmbeddingIndexes } from "../operate/rebuild.ts";
import { type TargetOptions, jsonOption, targetCommand, targetUrl, withTarget } from "./command.ts";
import { gauged, print, printJson, progress, table } from "./print.ts";

export const rebuildCommand = targetCommand("rebuild", {
  description:
    "Builds the two IVFFlat indexes anew, with lists fitted to the rows, where that helps searches: from 10,000 embeddings on, and again when they have doubled. Reads and writes go on. Runs as the owner, not through a transaction pooler.",
  examples: [
    "meta-agent-db rebuild",
    "meta-agent-db rebuild --force --url postgres://owner@host/app",
  ],
})
  .option("--force", "rebuild both, needed or not")
  .addOption(jsonOption())
  .action(({ force, json, ...target }: TargetOptions & { force?: true; json?: true }) =>
    withTarget(target, async ({ db }) => {
      const isEmbedded = targetUrl(target) === undefined;
      const rebuilt = await gauged("rebuilding", (tell) =>
        rebuildEmbeddingIndexes(db, {
          force: force === true,
          onProgress({ index, number, of, phase, extent }) {
            const what = `${index}, ${number} of ${of}`;
            // The embedded database lets nothing else run while it builds, so that it is said at once.
            if (isEmbedded && phase === undefined) progress(`  building ${what}`);
            tell(`${what}, ${phase ?? "begun"}`, extent ?? undefined);
          },
        }),
      );
      if (json) printJson(rebuilt);
      else print(table(["INDEX", "ROWS", "LISTS", "ACTION", "WHY"], rebuilt.map(cells)));
    }),
  );

const cells = ({ index, rows, listsBefore, lists, action, problem }: EmbeddingIndexRebuild) => [
  index,
  String(rows),
  listsBefore === null || listsBefore === lists ? String(lists) : `${listsBefore} to ${lists}`,
  action,
  problem ?? "",
];
