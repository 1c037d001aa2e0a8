import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { and, eq, sql } from "drizzle-orm";
import { expect, onTestFinished, test } from "vitest";
import { sendAlerts } from "../../examples/alert-sender.ts";
import { connect } from "../../src/client/connect.ts";
import type { Database, Transaction } from "../../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../../src/client/tenancy.ts";
import { claimAlerts, markAlertsSent, raiseAlert, resolveAlerts } from "../../src/fleet/alerts.ts";
import { agentRegistry, alertHistory } from "../../src/schema/index.ts";
import { newAgent, newAlert } from "../../src/testing.ts";
import { environment } from "../cli.ts";
import { suite } from "../engine.ts";
import { newWebhook } from "../webhook.ts";

const channel = "slack";
const INCIDENT = {
  alertType: "failure_rate",
  severity: "warning",
  title: "Failure rate",
  message: "One in four executions fails.",
} as const;

type Act = <T>(work: (tx: Transaction) => Promise<T>) => Promise<T>;
type Raise = (tx: Transaction, agentId: string) => Promise<unknown>;

const raise: Raise = (tx, agentId) => raiseAlert(tx, { ...INCIDENT, agentId });

/** Resolves for all when so many have come: what many callers see before one of them writes. */
function meeting(size: number): () => Promise<void> {
  let come = 0;
  let allHaveCome = (): void => {};
  const meets = new Promise<void>((resolve) => (allHaveCome = resolve));
  return async () => {
    come += 1;
    if (come === size) allHaveCome();
    await meets;
  };
}

/** Look, then write, as one would at first. */
const naively =
  (allHaveLooked: () => Promise<void>): Raise =>
  async (tx, agentId) => {
    const [open] = await tx
      .select()
      .from(alertHistory)
      .where(and(eq(alertHistory.agentId, agentId), eq(alertHistory.resolved, false)));
    await allHaveLooked();
    if (!open) {
      await tx.insert(alertHistory).values({ ...INCIDENT, agentId, details: { occurrences: 1 } });
    } else {
      const occurrences = Number(open.details?.["occurrences"]) + 1;
      await tx
        .update(alertHistory)
        .set({ details: { occurrences } })
        .where(eq(alertHistory.id, open.id));
    }
  };

suite("alerts, between sessions", (database) => {
  /** Sessions of their own, and a new fleet to act on in both ways. The backend sees no alert of a former one. */
  async function newFleet(sessions: number) {
    await database.query("update alert_history set resolved = true where not resolved");
    const { db, close } = connect(database.url, { max: sessions });
    onTestFinished(close);
    const organization = randomUUID();
    const agent = newAgent();
    await withOrganization(db, organization, (tx) => tx.insert(agentRegistry).values(agent));
    const asTenant: Act = (work) => withOrganization(db, organization, work);
    const asService: Act = (work) => withServiceRole(db, work);
    const alerts = () => db.select().from(alertHistory).where(eq(alertHistory.agentId, agent.id));
    return { db, agentId: agent.id, organization, asTenant, asService, alerts };
  }

  /** 32 clients raise one incident so many times each. */
  async function raisedBy(as: "asTenant" | "asService", by: Raise, times = 10) {
    const fleet = await newFleet(32);
    const client = async () => {
      for (let time = 0; time < times; time += 1) await fleet[as]((tx) => by(tx, fleet.agentId));
    };
    await Promise.all(Array.from({ length: 32 }, client));
    const alerts = await fleet.alerts();
    return { rows: alerts.length, occurrences: alerts[0]?.details?.["occurrences"] };
  }

  test.each(["asTenant", "asService"] as const)(
    "%s: 320 raises of one incident by 32 clients are 1 row with 320 occurrences",
    async (as) => {
      expect(await raisedBy(as, raise)).toEqual({ rows: 1, occurrences: 320 });
    },
  );

  test("who looks and then writes makes a row a client of it", async () => {
    expect((await raisedBy("asTenant", naively(meeting(32)), 1)).rows).toBe(32);
  });

  /** 16 clients raise one incident, and five times more while others resolve it. */
  async function raisedBesideResolvers(by: Raise) {
    const { asTenant, agentId, alerts } = await newFleet(20);
    let mostOpen = 0;
    const raising = { isOver: false };
    const resolver = async () => {
      while (!raising.isOver) {
        await asTenant(async (tx) => {
          const open = await tx
            .select()
            .from(alertHistory)
            .where(and(eq(alertHistory.agentId, agentId), eq(alertHistory.resolved, false)));
          mostOpen = Math.max(mostOpen, open.length);
          await resolveAlerts(tx, { ids: open.map(({ id }) => id) });
        });
      }
    };
    const raisers = (times: number) =>
      Promise.all(
        Array.from({ length: 16 }, async () => {
          for (let time = 0; time < times; time += 1) await asTenant((tx) => by(tx, agentId));
        }),
      );
    await raisers(1);
    const resolvers = Array.from({ length: 4 }, resolver);
    await raisers(5).finally(() => (raising.isOver = true));
    await Promise.all(resolvers);
    const counted = (await alerts()).map(({ details }) => Number(details?.["occurrences"]));
    return { mostOpen, occurrences: counted.reduce((sum, count) => sum + count, 0) };
  }

  test("beside resolvers never two are open, and every raise is counted in one of the alerts", async () => {
    const { mostOpen, occurrences } = await raisedBesideResolvers(raise);
    expect(mostOpen).toBeLessThanOrEqual(1);
    expect(occurrences).toBe(96);
  });

  test("beside resolvers, who looks and then writes finds a row a client open", async () => {
    expect((await raisedBesideResolvers(naively(meeting(16)))).mostOpen).toBe(16);
  });

  type Claim = (tx: Transaction) => Promise<readonly { readonly id: string }[]>;

  /** Which of 300 alerts one of 16 workers was given; one of them dies with the first that it gets. */
  async function claimedBy(as: "asTenant" | "asService", claim: Claim, rounds = Infinity) {
    const fleet = await newFleet(16);
    const act = fleet[as];
    await fleet.asTenant((tx) =>
      tx
        .insert(alertHistory)
        .values(Array.from({ length: 300 }, () => newAlert({ agentId: fleet.agentId }))),
    );
    const claimed = async () => (await act(claim)).map(({ id }) => id);
    const lost = await claimed();
    const given = [...lost];
    const worker = async () => {
      for (let round = 0; round < rounds; round += 1) {
        const ids = await claimed();
        if (ids.length === 0) return;
        given.push(...ids);
      }
    };
    await Promise.all(Array.from({ length: 15 }, worker));
    return { ...fleet, act, given, lost };
  }

  test.each(["asTenant", "asService"] as const)(
    "%s: of 300 alerts 16 workers are given each once, and those of one that dies come back",
    async (as) => {
      const now = new Date("2026-03-01T12:00:00Z");
      const lease = { channel, limit: 5, leaseSeconds: 60 } as const;
      const claim: Claim = (tx) => claimAlerts(tx, { ...lease, now });
      const { act, given, lost, alerts } = await claimedBy(as, claim);
      expect(given).toHaveLength(300);
      expect(new Set(given).size).toBe(300);
      expect(lost).toHaveLength(5);
      const others = (await alerts()).filter(({ id }) => !lost.includes(id));
      const claimedUntil = new Date("2026-03-01T12:01:00Z");
      const sent = others.map(({ id, severity }) => ({ id, severity, claimedUntil }));
      expect(await act((tx) => markAlertsSent(tx, { channel, alerts: sent }))).toBe(295);
      const back = await act((tx) => claimAlerts(tx, { ...lease, limit: 300, now: claimedUntil }));
      expect(back.map(({ id }) => id).toSorted()).toEqual(lost.toSorted());
    },
  );

  test("who looks and then writes gives alerts to many", async () => {
    let looks = 0;
    const fifteenHaveLooked = meeting(15);
    const claim: Claim = async (tx) => {
      const open = await tx
        .select({ id: alertHistory.id })
        .from(alertHistory)
        .where(and(eq(alertHistory.slackSent, false), sql`${alertHistory.slackSentAt} is null`))
        .orderBy(alertHistory.createdAt, alertHistory.id)
        .limit(20);
      if (looks > 0) await fifteenHaveLooked();
      looks += 1;
      for (const { id } of open) {
        await tx
          .update(alertHistory)
          .set({ slackSentAt: new Date() })
          .where(eq(alertHistory.id, id));
      }
      return open;
    };
    const { given } = await claimedBy("asTenant", claim, 1);
    expect(given.length).toBeGreaterThan(new Set(given).size);
  });

  test("two that change the same alerts in opposite orders do not wait for each other for ever", async () => {
    const { asTenant, agentId } = await newFleet(4);
    for (let round = 0; round < 5; round += 1) {
      const ids = Array.from({ length: 100 }, () => randomUUID());
      await asTenant((tx) =>
        tx.insert(alertHistory).values(ids.map((id) => newAlert({ id, agentId }))),
      );
      const counts = await Promise.all(
        [ids, ids.toReversed(), ids, ids.toReversed()].map((mine) =>
          asTenant((tx) => resolveAlerts(tx, { ids: mine })),
        ),
      );
      expect(counts.toSorted((a, b) => a - b)).toEqual([0, 0, 0, 100]);
    }
  });

  test("examples/alert-sender.ts killed in the middle: what it had claimed is sent by another, none is lost", async () => {
    const { db, asTenant, agentId, alerts } = await newFleet(2);
    const titles = ["red", "green", "blue", "white", "black"];
    await asTenant(async (tx) => {
      for (const title of titles)
        await raiseAlert(tx, { ...INCIDENT, agentId, title, dedupKey: title });
    });
    let sender: ChildProcess | undefined;
    const { webhook, received } = await newWebhook(() => {
      // The third has arrived, and nobody will be told.
      if (received.length === 3) sender?.kill("SIGKILL");
      return 204;
    });
    sender = spawn(process.execPath, ["--import", "tsx", "examples/alert-sender.ts", webhook], {
      env: { ...environment(), DATABASE_URL: database.url },
      stdio: "ignore",
    });
    const [, signal] = await once(sender, "exit");
    expect(signal).toBe("SIGKILL");
    const sent = () => received.map((body) => /WARNING: (\w+)/.exec(body)?.[1]);
    expect(sent()).toEqual(titles.slice(0, 3));
    expect(await sendAlerts(db, { webhook })).toBe(0);
    await lapse(db);
    expect(await sendAlerts(db, { webhook })).toBe(3);
    expect(sent()).toEqual([...titles.slice(0, 3), ...titles.slice(2)]);
    expect((await alerts()).every(({ slackSent }) => slackSent)).toBe(true);
  });
});

/** As if the time of a claim had passed. */
const lapse = (db: Database) =>
  db.execute(
    sql`update alert_history set slack_sent_at = slack_sent_at - interval '1 hour' where not slack_sent`,
  );
