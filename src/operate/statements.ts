/** Where the statements of a file of SQL begin and end, by PostgreSQL's own parser. */
import { databaseError } from "../client/errors.ts";
import type { openSnapshot } from "./snapshot.ts";

type Client = Awaited<ReturnType<typeof openSnapshot>>["client"];

/** One statement of a file. */
export interface Statement {
  /** As it stands in the file, with the comments before it. */
  readonly text: string;
  /** Where `text` begins in the file. */
  readonly offset: number;
}

/**
 * Cuts a text at each semicolon that ends a statement. Whether one does, is asked of PostgreSQL, which knows
 * what is inside of quotes, comments, `BEGIN ATOMIC` and rules. What it cannot read ends at the next semicolon.
 */
export async function statementsOf(client: Client, text: string): Promise<Statement[]> {
  const statements: Statement[] = [];
  let offset = 0;
  for (const { index } of text.matchAll(/;/g)) {
    const upToHere = text.slice(offset, index + 1);
    if (!(await isWhole(client, upToHere))) continue;
    statements.push({ text: upToHere, offset });
    offset = index + 1;
  }
  const rest = { text: text.slice(offset), offset };
  return startOf(rest.text) < rest.text.length ? [...statements, rest] : statements;
}

/** Whether a text that ends in a semicolon is a statement. */
async function isWhole(client: Client, text: string): Promise<boolean> {
  // On the same line: behind a semicolon inside of a comment it is comment too.
  const refusal = await refusalOf(client, `${text} select`);
  if (isOfTwo(refusal)) return true;
  // What cannot be read, however it goes on. On a line of its own, so that an error is none of what a statement means.
  return isBroken(refusal, text) && isBroken(await refusalOf(client, `${text}\n;select`), text);
}

/** PostgreSQL parses all of what it is to prepare, and refuses two statements before it looks at what they mean. */
const isOfTwo = (refusal: unknown) =>
  databaseError(refusal)?.message.includes("insert multiple commands") ?? false;

function isBroken(refusal: unknown, text: string): boolean {
  const at = positionOf(refusal, text) ?? text.length;
  return at < text.length && !databaseError(refusal)?.message.startsWith("unterminated");
}

const refusalOf = (client: Client, text: string): Promise<unknown> =>
  client.describeQuery(text).then(
    () => undefined,
    (error: unknown) => error,
  );

/** Where in a text PostgreSQL stopped to understand it. It counts characters from 1, JavaScript units of UTF-16 from 0. */
export function positionOf(error: unknown, text: string): number | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    const position = Number(Reflect.get(at, "position"));
    if (position > 0)
      return Array.from(text)
        .slice(0, position - 1)
        .join("").length;
  }
  return undefined;
}

/** Where a statement begins behind the comments before it. */
export const startOf = (text: string): number =>
  /^(?:[\s;]|--.*|\/\*[^]*?\*\/)*/.exec(text)?.[0].length ?? 0;

/**
 * A statement in a line, up to where a value or a comment begins: what is in quotes may be a secret.
 * @param end where to end at the latest
 */
export function shortened(text: string, end = text.length): string {
  const statement = text.slice(startOf(text)).trimEnd();
  const [head = ""] = text.slice(startOf(text), end).split(/'|\$|--|\/\*/, 1);
  const line = head.replaceAll(/\s+/g, " ").trim().slice(0, SHOWN);
  return head.trimEnd().length < statement.length || line.length === SHOWN ? `${line} …` : line;
}

const SHOWN = 100;
