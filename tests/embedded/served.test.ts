import { mkdtemp, rm } from "node:fs/promises";
import { connect as connectSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { copiesFromClient } from "../../src/client/pglite-server.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import { type EmbeddedConnection, openEmbedded } from "../../src/embedded.ts";
import { recordExecutions } from "../../src/fleet/record/record.ts";
import { migrate } from "../../src/operate/migrate/migrate.ts";
import { agentExecutionLogs, agentRegistry } from "../../src/schema/index.ts";
import { newAgent, newExecutionLog } from "../../src/testing.ts";
import { printed } from "../cli.ts";

const ORGANIZATION = "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10";

describe("the embedded database, served", () => {
  let directory: string;
  let connection: EmbeddedConnection;
  let url: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "meta-agent-db-served-"));
    connection = await openEmbedded(directory);
    await migrate(connection.db);
    url = await connection.serve(0);
  });
  afterAll(async () => {
    await connection.close();
    await rm(directory, { recursive: true });
  });

  const expectService = async () => {
    const client = postgres(url, { max: 1, idle_timeout: 1 });
    expect(await client`select 1 as one`).toEqual([{ one: 1 }]);
    await client.end();
  };
  /** Sends bytes and waits until the server hangs up; answers what it said. */
  const send = (bytes: string | Buffer) => {
    const socket = connectSocket(Number(new URL(url).port), "127.0.0.1");
    socket.write(bytes);
    return text(socket);
  };
  const message = (type: string, body: string | Buffer) => {
    const head = Buffer.alloc(4);
    head.writeInt32BE(body.length + 4);
    return Buffer.concat([Buffer.from(type), head, Buffer.from(body)]);
  };

  const query = message("Q", "create table planted ()\0").toString("latin1");
  test.each([
    ["GET", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"],
    ["POST", `POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n${query}`],
    ["TLS", "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"],
    ["a query without a startup packet", query],
    ["an endless startup packet", Buffer.from([0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0])],
  ])("hangs up on what is not its protocol, and goes on: %s", async (_, bytes) => {
    expect(await send(bytes)).toBe("");
    await expectService();
    const client = postgres(url, { max: 1 });
    expect(await client`select to_regclass('planted') as planted`).toEqual([{ planted: null }]);
    await client.end();
  });

  test("refuses a COPY from a client, and goes on with that client and the others", async () => {
    const client = postgres(url, { max: 1 });
    await client`create temporary table target (a int)`;
    const refused = "the embedded database takes no COPY from a client";
    for (const copy of ["copy target from stdin", "truncate target; copy target from stdout"]) {
      await expect(client.unsafe(copy).simple()).rejects.toThrow(refused);
    }
    await expect(client`copy target from stdin`.writable()).rejects.toThrow(refused);
    const inTransaction = client.begin(async (tx) => {
      await tx`insert into target values (1)`;
      await tx.savepoint((part) => part.unsafe("copy target from stdin")).catch(() => {});
      await tx`insert into target values (2)`;
    });
    await inTransaction;
    expect(await client`select a from target order by a`).toEqual([{ a: 1 }, { a: 2 }]);
    await client.end();
    await expectService();
  });

  test("goes on when a client hangs up in a COPY", async () => {
    const startup = Buffer.from("\0\0\0\x16\0\x03\0\0user\0postgres\0\0", "latin1");
    startup.writeInt32BE(startup.length);
    const copy = message("Q", "copy agent_registry from stdin\0");
    const socket = connectSocket(Number(new URL(url).port), "127.0.0.1");
    socket.write(Buffer.concat([startup, copy, message("d", "half a row")]));
    await printed(socket, /takes no COPY from a client/);
    socket.destroy();
    await expectService();
  });

  test("takes 501 executions in one call", async () => {
    const { db, close } = connect(url);
    const agent = newAgent();
    await withOrganization(db, ORGANIZATION, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      const entries = Array.from({ length: 501 }, () => newExecutionLog({ agentId: agent.id }));
      expect(await recordExecutions(tx, entries)).toMatchObject({ inserted: 501 });
    });
    await close();
    expect(await connection.db.$count(agentExecutionLogs)).toBe(501);
    await expectService();
  });
});

test.each([
  ["copy t from stdin", true],
  ["COPY public.t (a, b)\nFROM\tSTDIN WITH (FORMAT csv)", true],
  ["copy t from stdout", true],
  [";; copy/**/t/* /* ' */ ; */from--'\nstdin", true],
  ["select 'it''s; '; copy t from stdin", true],
  [String.raw`select e'\''; copy t from stdin -- '`, true],
  [String.raw`select '\'; copy t from stdin -- '`, true],
  ['select $a$ \' $a$; copy "t;" from stdin', true],
  ["copy t to stdout", false],
  ["copy t from '/tmp/stdin'", false],
  ["select 'copy t from stdin'", false],
  ["select 1 -- ; copy t from stdin", false],
  ["insert into notes values ($$; copy t from stdin$$)", false],
  ["select copy from stdin", false],
])("a COPY from the client is told from other statements: %s", (statement, isCopy) => {
  expect(copiesFromClient(statement)).toBe(isCopy);
});
