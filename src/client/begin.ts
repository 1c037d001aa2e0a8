/**
 * BEGIN and the statement after it in one round trip, on `pg`: its clients send nothing while an answer is awaited.
 * Both are messages of one pipeline, as libpq and JDBC send them: where BEGIN is refused the server skips the other.
 */

/** What is needed of the connection of a client of pg, which pg-cursor uses as well. */
interface Connection {
  parse(message: { readonly text: string }): void;
  bind(message: object): void;
  execute(message: object): void;
}

/** What is needed of a query of pg. */
interface Query {
  callback: (error: unknown, result: unknown) => void;
  /** Sends what is answered up to the next Sync, which it sends, too. */
  prepare: (connection: Connection) => void;
  handleCommandComplete: (answer: unknown, ...rest: unknown[]) => void;
}

const isQuery = (query: unknown): query is Query =>
  typeof query === "object" &&
  query !== null &&
  "prepare" in query &&
  typeof query.prepare === "function" &&
  "handleCommandComplete" in query &&
  typeof query.handleCommandComplete === "function";

/** What is needed of a client. */
interface Client {
  query(...words: unknown[]): unknown;
}

const textOf = (config: unknown): unknown =>
  typeof config === "object" && config !== null ? Reflect.get(config, "text") : undefined;

/**
 * A client whose BEGIN is answered at once, and sent with the statement after it. That one must be awaited before any
 * other is sent, and do no harm when it is sent again.
 */
export function joiningBegin<T extends object>(client: T & Client): T {
  let begin: string | undefined;
  const query = (...words: unknown[]): unknown => {
    const text = textOf(words[0]);
    if (typeof text === "string" && /^begin\b/.test(text)) {
      begin = text;
      return Promise.resolve({ rows: [] });
    }
    const before = begin;
    begin = undefined;
    return before === undefined ? client.query(...words) : afterBegin(client, before, words);
  };
  return Object.create(client, { query: { value: query } });
}

async function afterBegin(client: Client, begin: string, words: unknown[]): Promise<unknown> {
  const query = hasParameters(words) ? queryOf(client, words) : undefined;
  const { hasBegun, result } = query
    ? await sendJoined(client, begin, query)
    : { hasBegun: false, result: undefined };
  if (hasBegun) return result;
  await client.query({ text: begin });
  return client.query(...words);
}

/** Tracers put a copy of the query in its place, which does not know of BEGIN: who has not begun has to be told. */
function sendJoined(
  client: Client,
  begin: string,
  query: Query,
): Promise<{ hasBegun: boolean; result: unknown }> {
  let hasBegun = false;
  const { prepare, handleCommandComplete } = query;
  query.prepare = (connection) => {
    connection.parse({ text: begin });
    connection.bind({});
    connection.execute({});
    prepare.call(query, connection);
  };
  query.handleCommandComplete = (answer, ...rest) => {
    if (textOf(answer) === "BEGIN") hasBegun = true;
    else handleCommandComplete.call(query, answer, ...rest);
  };
  return new Promise((resolve, reject) => {
    const settle = (error: unknown, result?: unknown) => {
      if (error) reject(error);
      else resolve({ hasBegun, result });
    };
    query.callback = settle;
    const sent = client.query(query);
    // Of a copy without the callback, pg makes a promise.
    if (sent instanceof Promise) sent.then((result: unknown) => settle(undefined, result), reject);
  });
}

/** Only then pg speaks the protocol that has pipelines. */
const hasParameters = ([, values]: unknown[]): boolean =>
  Array.isArray(values) && values.length > 0;

/** A query of the client's own class; none where it is another's, such as pg-native's. */
function queryOf(client: Client, words: unknown[]): Query | undefined {
  const connection: unknown = Reflect.get(client, "connection");
  const kind: unknown = Reflect.get(client.constructor, "Query");
  if (typeof connection !== "object" || connection === null || !("parse" in connection)) {
    return undefined;
  }
  const query: unknown = typeof kind === "function" && Reflect.construct(kind, words);
  return isQuery(query) ? query : undefined;
}
