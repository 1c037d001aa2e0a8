import pc from "picocolors";

/** Colours for stderr and stdout apart: either may be a pipe. NO_COLOR and FORCE_COLOR are respected. */
function colorsFor({ isTTY }: { isTTY?: boolean }) {
  const { NO_COLOR, FORCE_COLOR } = process.env;
  return pc.createColors(!NO_COLOR && (FORCE_COLOR ? true : isTTY === true));
}
export const err = colorsFor(process.stderr);
export const out = colorsFor(process.stdout);

/**
 * Control characters as `\x1b`: names and messages come from the database, and a terminal would obey them.
 * Line ends stay, and where colours are on the codes of ours.
 */
export function visible(text: string, { isColorSupported }: { isColorSupported: boolean }): string {
  return text.replaceAll(/(?!\n)\p{Cc}/gu, (control, place: number) => {
    const isOurs = isColorSupported && /^.\[(1|2|22|3[1-69])m/.test(text.slice(place, place + 5));
    return isOurs ? control : `\\x${control.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

/** What stands at the end of stderr: a line that is over, the first half of one, or one that will be written over. */
let last: "over" | "half" | "passing" = "over";
const ERASE = "\r\u001b[K";
const FORMER = { over: "", half: "\n", passing: ERASE };

/** A line of progress, on stderr. */
export function progress(line: string): void {
  process.stderr.write(`${FORMER[last]}${visible(line, err)}\n`);
  last = "over";
}

/** The first half of a line of progress; {@link end} completes it. */
export function begin(text: string): void {
  process.stderr.write(visible(text, err));
  last = "half";
}
export function end(text: string): void {
  process.stderr.write(`${visible(text, err)}\n`);
  last = "over";
}

/** How much of something is done. */
export interface Extent {
  readonly done: number;
  readonly total: number;
  /** What is counted: `rows`. */
  readonly unit: string;
}

/** Tells what is being done now, and how far that is where it is known. */
export type Tell = (what: string, extent?: Extent) => void;

/** Milliseconds: what is quicker says nothing; in a pipe there is no line sooner after another. */
const QUIET = 5000;

/**
 * Says on stderr how far `work` is, once it has lasted five seconds: on a terminal in one line that is rewritten each
 * second and is gone at the end, in a pipe by a line each five seconds.
 */
export async function gauged<T>(what: string, work: (tell: Tell) => Promise<T>): Promise<T> {
  const { stderr } = process;
  let shown = performance.now();
  const begun = shown;
  let now: { what: string; since: number; extent?: Extent | undefined } = { what, since: begun };
  let pause = QUIET;
  const show = () => {
    if (performance.now() - shown < pause) return;
    shown = performance.now();
    const { what: doing, since, extent } = now;
    const text = howFar(doing, shown - (extent ? since : begun), extent);
    if (!stderr.isTTY) return progress(text);
    pause = 1000;
    const line = visible(text, err).slice(0, Math.max(0, (stderr.columns || 80) - 1));
    stderr.write(`${FORMER[last]}${err.dim(line)}`);
    last = "passing";
  };
  const timer = setInterval(show, 1000);
  try {
    return await work((next, extent) => {
      const { extent: former, since } = now;
      const isSame = former && extent?.total === former.total && extent.done >= former.done;
      now = { what: next, since: isSame ? since : performance.now(), extent };
      show();
    });
  } finally {
    clearInterval(timer);
    if (last === "passing") {
      stderr.write(ERASE);
      last = "over";
    }
  }
}

/** What a function that works in steps tells of them. */
export const tellingSteps = (tell: Tell) => ({
  onStep(what: string) {
    progress(`  ${what}`);
    tell(what);
  },
  onWait: progress,
  onDeleted: (done: number, total: number) => tell("deleting", { done, total, unit: "logs" }),
});

/**
 * How far something is, with what matters first, since a narrow terminal shows no more:
 * `41 %, 40 s left, 12,345 of 30,000 rows: agent_notes`.
 * @param elapsed milliseconds
 */
export function howFar(what: string, elapsed: number, extent?: Extent): string {
  if (extent === undefined || extent.total <= 0) return `${inTime(elapsed)}: ${what}`;
  const { total, unit } = extent;
  // What was estimated may be passed.
  const done = Math.min(extent.done, total);
  const count = [done, total].map((number) => number.toLocaleString("en-US")).join(" of ");
  const left = done > 0 ? `, ${inTime((elapsed * (total - done)) / done)} left` : "";
  return `${Math.floor((100 * done) / total)} %${left}, ${count} ${unit}: ${what}`;
}

/** A duration of so many milliseconds, by its two largest units. */
function inTime(duration: number): string {
  const seconds = Math.max(0, Math.ceil(duration / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.ceil(seconds / 60);
  if (seconds < 600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Runs one step and says on stderr what it did and how long it took. */
export async function step<T>(work: () => Promise<T>, said: (result: T) => string): Promise<T> {
  const start = performance.now();
  const result = await work();
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  progress(`${err.green("✔")} ${said(result)}  ${err.dim(`${seconds} s`)}`);
  return result;
}

/** A line for a person, on stdout. */
export function print(line = ""): void {
  process.stdout.write(`${visible(line, out)}\n`);
}

const LEVELS = { error: out.red, warning: out.yellow, info: out.dim };

/** A finding as text: its level, where it is, what is so, and below it what else there is to say. */
export function finding(
  level: keyof typeof LEVELS,
  where: string,
  message: string,
  ...below: readonly string[]
): string {
  const head = `${LEVELS[level](level.padEnd(7))}  ${out.bold(where)}: ${message}`;
  return [head, ...below].join("\n         ");
}

/** SQL, on stdout: as it is for a pipe, since it is to run as it is. */
export function printSql(text: string): void {
  if (process.stdout.isTTY) print(text);
  else process.stdout.write(`${text}\n`);
}

/** Data for programs, on stdout. */
export function printJson(data: unknown): void {
  process.stdout.write(`${JSON.stringify(data, null, 2)}\n`);
}

/**
 * Columns as wide as their widest cell; numbers, and texts that hold nothing else, to the right. Where a line
 * would be wider than the terminal, each row is a block of lines instead, a cell a line below the first one.
 */
export function table(
  head: readonly string[],
  body: readonly (readonly string[])[],
  columns = process.stdout.columns ?? Infinity,
): string {
  const widths = head.map((title, i) =>
    Math.max(title.length, ...body.map((cells) => cells[i]?.length ?? 0)),
  );
  const isNumeric = head.map((_, i) => body.every((cells) => /^[\d.,–]*$/.test(cells[i] ?? "")));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) =>
        isNumeric[i] ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0),
      )
      .join("  ")
      .trimEnd();
  const lines = body.map(line);
  const isNarrow = [line(head), ...lines].some(({ length }) => length > columns);
  if (isNarrow) return body.map((cells) => block(head, cells)).join("\n");
  return [out.bold(line(head)), ...lines].join("\n");
}

/** A row below its first cell; what is empty is left out. */
function block(
  [, ...titles]: readonly string[],
  [first = "", ...cells]: readonly string[],
): string {
  const width = Math.max(...titles.map(({ length }) => length));
  const lines = cells.flatMap((cell, i) =>
    cell === "" ? [] : [`  ${(titles[i] ?? "").padEnd(width)}  ${cell}`],
  );
  return [out.bold(first), ...lines].join("\n");
}
