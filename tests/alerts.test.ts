import { randomUUID } from "node:crypto";
import { eq } from "drizzle-orm";
import { expect, test } from "vitest";
import { sendAlerts } from "../examples/alert-sender.ts";
import type { Transaction } from "../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../src/client/tenancy.ts";
import {
  type Incident,
  acknowledgeAlerts,
  claimAlerts,
  markAlertsSent,
  raiseAlert,
  releaseAlerts,
  resolveAlerts,
} from "../src/fleet/alerts.ts";
import { doctor } from "../src/operate/doctor/doctor.ts";
import { migrate } from "../src/operate/migrate/migrate.ts";
import { MIGRATIONS } from "../src/migrations.ts";
import { agentRegistry, alertHistory } from "../src/schema/index.ts";
import { fromDatabaseError } from "../src/validation/refusals.ts";
import { newAgent, newAlert } from "../src/testing.ts";
import { openEmpty, suite } from "./engine.ts";
import { newWebhook } from "./webhook.ts";

const INCIDENT = {
  alertType: "failure_rate",
  severity: "warning",
  title: "Failure rate",
  message: "One in four executions fails.",
} as const satisfies Incident;

const channel = "slack";
const NOON = new Date("2026-03-01T12:00:00Z");
const after = (seconds: number) => new Date(NOON.getTime() + seconds * 1000);

suite("alerts", (database) => {
  const asUs = <T>(organization: string, work: (tx: Transaction) => Promise<T>) =>
    withOrganization(database.db, organization, work);
  const asService = <T>(work: (tx: Transaction) => Promise<T>) =>
    withServiceRole(database.db, work);

  /** An organization of its own, with an agent, and both ways to act on it. */
  async function newFleet() {
    const organization = randomUUID();
    const agent = newAgent();
    await asUs(organization, (tx) => tx.insert(agentRegistry).values(agent));
    const stored = () =>
      database.db.select().from(alertHistory).where(eq(alertHistory.organizationId, organization));
    return { organization, agentId: agent.id, stored };
  }

  const CALLERS = ["the organization", "the service role"] as const;
  /** Acts as the organization, or past all. */
  const acting =
    (caller: (typeof CALLERS)[number], organization: string) =>
    <T>(work: (tx: Transaction) => Promise<T>) =>
      caller === "the organization" ? asUs(organization, work) : asService(work);

  test.each(CALLERS)(
    "as %s: while an alert is open its key is that alert; after it is resolved the next is a new one",
    async (caller) => {
      const { organization, agentId, stored } = await newFleet();
      const act = acting(caller, organization);
      const raise = (more: Partial<Incident> = {}) =>
        act((tx) => raiseAlert(tx, { ...INCIDENT, agentId, ...more }));
      const first = await raise({ details: { rate: 0.25 }, now: NOON });
      expect(first).toMatchObject({ isNew: true, occurrences: 1 });
      expect(await raise({ title: "again", details: { rate: 0.3 }, now: after(60) })).toEqual({
        id: first.id,
        isNew: false,
        occurrences: 2,
      });
      expect(await raise({ alertType: "another", dedupKey: "failure_rate" })).toMatchObject({
        id: first.id,
        occurrences: 3,
      });
      expect(await raise({ dedupKey: "cost" })).toMatchObject({ isNew: true });
      expect(await raise({ now: after(120) })).toMatchObject({ id: first.id, occurrences: 4 });
      const alert = (await stored()).find(({ id }) => id === first.id);
      expect(alert).toMatchObject({
        ...INCIDENT,
        agentId,
        organizationId: organization,
        createdAt: NOON,
        details: { rate: 0.25, dedup_key: "failure_rate", occurrences: 4 },
      });
      const seen = alert?.details?.["last_seen_at"];
      expect(typeof seen === "string" && new Date(seen)).toEqual(after(120));

      expect(await act((tx) => resolveAlerts(tx, { ids: [first.id], by: "omar" }))).toBe(1);
      expect(await raise()).toMatchObject({ isNew: true, occurrences: 1 });
      expect(await stored()).toHaveLength(3);
    },
  );

  test("without an agent it is the organization's own, beside those of its agents", async () => {
    const { organization, agentId, stored } = await newFleet();
    const other = await newFleet();
    const ours = await asUs(organization, (tx) => raiseAlert(tx, INCIDENT));
    const theirs = await asUs(other.organization, (tx) => raiseAlert(tx, INCIDENT));
    const agents = await asUs(organization, (tx) => raiseAlert(tx, { ...INCIDENT, agentId }));
    expect([ours.isNew, theirs.isNew, agents.isNew]).toEqual([true, true, true]);
    const again = await asService((tx) =>
      raiseAlert(tx, { ...INCIDENT, organizationId: organization }),
    );
    expect(again).toEqual({ id: ours.id, isNew: false, occurrences: 2 });
    expect(await asUs(organization, (tx) => raiseAlert(tx, INCIDENT))).toMatchObject({
      id: ours.id,
      occurrences: 3,
    });
    expect(await stored()).toHaveLength(2);
  });

  test("an agent of the platform has its alerts once, too", async () => {
    const agent = newAgent();
    await asService((tx) => tx.insert(agentRegistry).values(agent));
    const raise = () => asService((tx) => raiseAlert(tx, { ...INCIDENT, agentId: agent.id }));
    const first = await raise();
    expect(await raise()).toEqual({ id: first.id, isNew: false, occurrences: 2 });
  });

  test("the service role is told to give the organization of an alert without an agent", async () => {
    const whose = "this caller has none: give organizationId";
    await expect(asService((tx) => raiseAlert(tx, INCIDENT))).rejects.toThrow(
      `raiseAlert: without an agent an alert is the organization's, and ${whose}`,
    );
    const key = { dedupKey: "failure_rate" };
    await expect(asService((tx) => resolveAlerts(tx, key))).rejects.toThrow(whose);
    await expect(asService((tx) => acknowledgeAlerts(tx, { ...key, by: "omar" }))).rejects.toThrow(
      whose,
    );
  });

  test("an agent or organization that is another's answers as one that is not there", async () => {
    const { organization } = await newFleet();
    const theirs = await newFleet();
    for (const agentId of [theirs.agentId, randomUUID()]) {
      const missing = `no agent ${agentId}, or it is not this caller's`;
      const key = { agentId, dedupKey: "failure_rate" };
      const works: ((tx: Transaction) => Promise<unknown>)[] = [
        (tx) => raiseAlert(tx, { ...INCIDENT, agentId }),
        (tx) => resolveAlerts(tx, key),
        (tx) => acknowledgeAlerts(tx, { ...key, by: "omar" }),
      ];
      for (const work of works) {
        await expect(asUs(organization, work)).rejects.toThrow(missing);
      }
    }
    for (const organizationId of [theirs.organization, randomUUID()]) {
      await expect(
        asUs(organization, (tx) => raiseAlert(tx, { ...INCIDENT, organizationId })),
      ).rejects.toThrow(`no organization ${organizationId}, or it is not this caller's`);
    }
    await expect(
      asService((tx) =>
        raiseAlert(tx, { ...INCIDENT, agentId: theirs.agentId, organizationId: organization }),
      ),
    ).rejects.toThrow(`no agent ${theirs.agentId}`);
    expect(await theirs.stored()).toEqual([]);
  });

  test("ids of another organization count nothing, as ids that are not there", async () => {
    const { organization } = await newFleet();
    const theirs = await newFleet();
    const { id } = await asUs(theirs.organization, (tx) =>
      raiseAlert(tx, { ...INCIDENT, agentId: theirs.agentId }),
    );
    await asUs(theirs.organization, (tx) => claimAlerts(tx, { channel, now: NOON }));
    const before = await theirs.stored();
    const claimed = { id, severity: "warning", claimedUntil: after(60) } as const;
    const ids = [id, randomUUID()];
    await asUs(organization, async (tx) => {
      expect(await acknowledgeAlerts(tx, { ids, by: "omar" })).toBe(0);
      expect(await resolveAlerts(tx, { ids })).toBe(0);
      expect(await markAlertsSent(tx, { channel, alerts: [claimed] })).toBe(0);
      expect(await releaseAlerts(tx, { channel, alerts: [claimed] })).toBe(0);
      expect(await claimAlerts(tx, { channel })).toEqual([]);
    });
    expect(await theirs.stored()).toEqual(before);
  });

  test("severity only rises, and a rise is sent again by every channel with what it says", async () => {
    const { organization, agentId, stored } = await newFleet();
    const raise = (more: Partial<Incident>) =>
      asUs(organization, (tx) => raiseAlert(tx, { ...INCIDENT, agentId, ...more }));
    const send = () =>
      asUs(organization, async (tx) => {
        const alerts = await claimAlerts(tx, { channel });
        await markAlertsSent(tx, { channel, alerts });
        return alerts.map(({ severity, title }) => [severity, title]);
      });
    await raise({ details: { rate: 0.25, since: "noon" } });
    expect(await send()).toEqual([["warning", "Failure rate"]]);
    await raise({ severity: "warning", title: "the same" });
    await raise({ severity: "info", title: "quieter" });
    expect(await send()).toEqual([]);
    await raise({ severity: "emergency", title: "louder", details: { rate: 0.9 } });
    await raise({ severity: "critical", title: "quieter again" });
    expect(await stored()).toMatchObject([
      {
        severity: "emergency",
        title: "louder",
        slackSent: false,
        slackSentAt: null,
        details: { rate: 0.9, since: "noon", dedup_key: "failure_rate", occurrences: 5 },
      },
    ]);
    expect(await send()).toEqual([["emergency", "louder"]]);
    expect(await send()).toEqual([]);
  });

  test("an alert that rises while it is being sent is not marked as sent", async () => {
    const { organization, agentId } = await newFleet();
    await asUs(organization, async (tx) => {
      await raiseAlert(tx, { ...INCIDENT, agentId });
      const quiet = await claimAlerts(tx, { channel, now: NOON });
      await raiseAlert(tx, { ...INCIDENT, agentId, severity: "critical" });
      // Claimed again in the same instant, it differs by its severity alone.
      const loud = await claimAlerts(tx, { channel, now: NOON });
      expect(loud[0]?.claimedUntil).toEqual(quiet[0]?.claimedUntil);
      expect(await markAlertsSent(tx, { channel, alerts: quiet })).toBe(0);
      expect(await releaseAlerts(tx, { channel, alerts: quiet })).toBe(0);
      expect(await markAlertsSent(tx, { channel, alerts: loud })).toBe(1);
      expect(await markAlertsSent(tx, { channel, alerts: loud })).toBe(0);
    });
  });

  test.each(CALLERS)(
    "as %s: a claim is one sender's until it lapses, is released or sent",
    async (caller) => {
      const { organization, agentId, stored } = await newFleet();
      const act = acting(caller, organization);
      const claim = (seconds: number) =>
        act(async (tx) => {
          const alerts = await claimAlerts(tx, { channel, leaseSeconds: 30, now: after(seconds) });
          return alerts.filter((alert) => alert.organizationId === organization);
        });
      await act((tx) => raiseAlert(tx, { ...INCIDENT, agentId, details: { a: 1 }, now: NOON }));
      const first = await claim(0);
      expect(first).toMatchObject([
        {
          ...INCIDENT,
          agentId,
          organizationId: organization,
          details: { a: 1, dedup_key: "failure_rate" },
          createdAt: NOON,
          claimedUntil: after(30),
        },
      ]);
      expect(await claim(29)).toEqual([]);
      const second = await claim(30);
      expect(second).toMatchObject([{ claimedUntil: after(60) }]);
      // The first sender comes late: it neither ends nor frees what another has now.
      await act(async (tx) => {
        expect(await markAlertsSent(tx, { channel, alerts: first })).toBe(0);
        expect(await releaseAlerts(tx, { channel, alerts: first })).toBe(0);
        expect(await releaseAlerts(tx, { channel, alerts: second })).toBe(1);
        expect(await releaseAlerts(tx, { channel, alerts: second })).toBe(0);
      });
      const third = await claim(31);
      expect(third).toHaveLength(1);
      const mark = () =>
        act((tx) => markAlertsSent(tx, { channel, alerts: third, now: after(32) }));
      expect([await mark(), await mark()]).toEqual([1, 0]);
      expect(await stored()).toMatchObject([
        { slackSent: true, slackSentAt: after(32), emailSent: false, emailSentAt: null },
      ]);
      expect(await claim(1000)).toEqual([]);
    },
  );

  test("each channel sends by itself", async () => {
    const { organization, agentId, stored } = await newFleet();
    await asUs(organization, async (tx) => {
      await raiseAlert(tx, { ...INCIDENT, agentId });
      const alerts = await claimAlerts(tx, { channel: "email", now: NOON });
      expect(await claimAlerts(tx, { channel: "slack", now: NOON })).toHaveLength(1);
      expect(await markAlertsSent(tx, { channel: "email", alerts, now: NOON })).toBe(1);
    });
    expect(await stored()).toMatchObject([
      { emailSent: true, emailSentAt: NOON, slackSent: false, slackSentAt: after(60) },
    ]);
  });

  test("the loudest are given first, of these the oldest; none too quiet, none resolved, others' rows too", async () => {
    const { organization, agentId } = await newFleet();
    const severities = ["info", "warning", "emergency", "critical", "warning"] as const;
    await asUs(organization, async (tx) => {
      await tx
        .insert(alertHistory)
        .values(
          severities.map((severity, n) =>
            newAlert({ agentId, severity, title: `${n}`, createdAt: after(-n) }),
          ),
        );
      await tx
        .insert(alertHistory)
        .values(newAlert({ agentId, severity: "emergency", resolved: true }));
      const claim = async (limit: number) =>
        (await claimAlerts(tx, { channel, limit, minSeverity: "warning" })).map(
          ({ title }) => title,
        );
      expect(await claim(3)).toEqual(["2", "3", "4"]);
      expect(await claim(3)).toEqual(["1"]);
      expect(await claim(3)).toEqual([]);
    });
  });

  test("rows of others that have strange details are counted all the same", async () => {
    const { organization, agentId } = await newFleet();
    for (const occurrences of ["many", 1.5, 1e300, -7, null, [1], 2_147_483_647]) {
      const dedupKey = `strange ${JSON.stringify(occurrences)}`;
      const details = { dedup_key: dedupKey, occurrences };
      await asUs(organization, async (tx) => {
        await tx.insert(alertHistory).values(newAlert({ agentId, details }));
        const raised = await raiseAlert(tx, { ...INCIDENT, agentId, dedupKey });
        expect(raised.isNew).toBe(false);
        expect(raised.occurrences).toBe(Number(occurrences) > 2 ? 2_147_483_647 : 2);
      });
    }
  });

  test.each(CALLERS)(
    "as %s: alerts are taken on once and resolved once, by ids or by key, and say by whom",
    async (caller) => {
      const { organization, agentId, stored } = await newFleet();
      const act = acting(caller, organization);
      const ofAgent = { agentId, dedupKey: "failure_rate" };
      const ofAll = { organizationId: organization, dedupKey: "failure_rate" };
      await act(async (tx) => {
        await raiseAlert(tx, { ...INCIDENT, agentId });
        await raiseAlert(tx, { ...INCIDENT, organizationId: organization });
        expect(await acknowledgeAlerts(tx, { ...ofAgent, by: "lena", now: NOON })).toBe(1);
        expect(await acknowledgeAlerts(tx, { ...ofAgent, by: "omar" })).toBe(0);
        expect(await acknowledgeAlerts(tx, { ...ofAgent, dedupKey: "other", by: "omar" })).toBe(0);
        expect(await resolveAlerts(tx, { ...ofAll, now: NOON })).toBe(1);
        expect(await resolveAlerts(tx, { ...ofAll })).toBe(0);
        expect(await acknowledgeAlerts(tx, { ...ofAll, by: "omar" })).toBe(0);
      });
      const ids = (await stored()).map(({ id }) => id);
      const resolution = { by: "omar", notes: "a new key", now: after(9) };
      await act(async (tx) => {
        expect(await resolveAlerts(tx, { ids: [...ids, ...ids], ...resolution })).toBe(1);
        expect(await resolveAlerts(tx, { ids, by: "lena" })).toBe(0);
        expect(await acknowledgeAlerts(tx, { ids, by: "omar" })).toBe(0);
      });
      expect(new Map((await stored()).map((alert) => [alert.agentId, alert]))).toMatchObject(
        new Map([
          [
            agentId,
            {
              acknowledged: true,
              acknowledgedBy: "lena",
              acknowledgedAt: NOON,
              resolved: true,
              resolvedBy: "omar",
              resolvedAt: after(9),
              resolutionNotes: "a new key",
            },
          ],
          [null, { acknowledged: false, resolved: true, resolvedBy: null, resolvedAt: NOON }],
        ]),
      );
    },
  );

  test("a key is 1 to 255 characters, and what is raiseAlert's own stays its own", async () => {
    const { organization, agentId } = await newFleet();
    const raise = (more: Partial<Incident>) =>
      asUs(organization, (tx) => raiseAlert(tx, { ...INCIDENT, agentId, ...more }));
    const longest = "𝄞".repeat(255);
    expect(await raise({ dedupKey: longest })).toMatchObject({ isNew: true });
    expect(await raise({ dedupKey: longest })).toMatchObject({ isNew: false });
    for (const dedupKey of ["", `${longest}x`, "\0"]) {
      await expect(raise({ dedupKey })).rejects.toThrow(/dedupKey/);
    }
    await expect(raise({ alertType: "x".repeat(256) })).rejects.toThrow(/alertType/);
    await expect(raise({ details: { dedup_key: "x" } })).rejects.toThrow(
      /none of dedup_key, occurrences, last_seen_at/,
    );
    await expect(raise({ details: new Date() })).rejects.toThrow(/details/);
  });

  test("a second open row of a key is refused in words; a text too long for a key is any text", async () => {
    const { organization, agentId } = await newFleet();
    const insert = (dedup_key: string) =>
      asUs(organization, (tx) =>
        tx.insert(alertHistory).values(newAlert({ agentId, details: { dedup_key } })),
      );
    await insert("once");
    const refusal = fromDatabaseError(await insert("once").catch((error: unknown) => error));
    expect(refusal).toMatchObject({
      issues: [{ path: ["details"], message: expect.stringContaining("raiseAlert counts it") }],
    });
    for (const long of ["x".repeat(256), Array.from({ length: 900 }, () => randomUUID()).join()]) {
      await insert(long);
      await insert(long);
    }
  });

  test("doctor names claims that lapsed an hour ago and were never sent", async () => {
    const { organization, agentId } = await newFleet();
    const said = async () =>
      (await doctor(database.db)).flatMap(({ check, message }) =>
        check === "alerts" ? [message] : [],
      );
    await asUs(organization, (tx) => raiseAlert(tx, { ...INCIDENT, agentId }));
    const minutesAgo = (minutes: number) => new Date(Date.now() - minutes * 60_000);
    const claim = (minutes: number) =>
      asUs(organization, (tx) =>
        claimAlerts(tx, { channel: "email", leaseSeconds: 1, now: minutesAgo(minutes) }),
      );
    await asService((tx) => tx.update(alertHistory).set({ slackSentAt: null }));
    const [former] = await said();
    expect(former).toBeUndefined();
    expect(await claim(61)).toHaveLength(1);
    expect(await said()).toEqual([
      expect.stringMatching(/^open alerts that were claimed for email and never sent: 1, since 20/),
    ]);
    expect(await claim(59)).toHaveLength(1);
    expect(await said()).toEqual([]);
  });
});

suite("examples/alert-sender.ts", (database) => {
  test("what the webhook takes is sent once; what it refuses, or breaks off, is tried again", async () => {
    const organization = randomUUID();
    const agent = newAgent();
    const titles = ["red", "green", "blue", "white"];
    await withOrganization(database.db, organization, async (tx) => {
      await tx.insert(agentRegistry).values(agent);
      for (const title of titles) {
        await raiseAlert(tx, { ...INCIDENT, agentId: agent.id, title, dedupKey: title });
      }
    });
    let isUp = false;
    const { webhook, received } = await newWebhook((text) => {
      if (isUp) return 200;
      if (text.includes("green")) return 503;
      return text.includes("blue") ? undefined : 204;
    });
    expect(await sendAlerts(database.db, { webhook })).toBe(2);
    expect(received).toHaveLength(4);
    isUp = true;
    expect(await sendAlerts(database.db, { webhook })).toBe(2);
    expect(await sendAlerts(database.db, { webhook })).toBe(0);
    const times = titles.map((title) => received.filter((text) => text.includes(title)).length);
    expect(times).toEqual([1, 2, 2, 1]);
    expect(received[0]).toContain("WARNING: red");
  });
});

suite(
  "a database of before alert keys",
  (database) => {
    test("with two open alerts of a key is refused with what to do, unchanged, and migrated once that is done", async () => {
      const place = MIGRATIONS.findIndex(({ name }) => name.endsWith("_alert_keys"));
      await migrate(database.db, { migrations: MIGRATIONS.slice(0, place) });
      await database.script(`
        insert into agent_registry (id, agent_name, display_name, category)
          values ('00000000-0000-4000-8000-000000000001', 'a', 'A', 'sales');
        insert into alert_history (agent_id, alert_type, severity, title, message, resolved, details, created_at)
          select agent, 't', 'info', place, 'm', place = 'old', details::jsonb, '2026-01-01'::timestamptz + n * interval '1 day'
          from (values (1, 'old', '{"dedup_key": "k"}'), (2, 'first', '{"dedup_key": "k"}'), (3, 'second', '{"dedup_key": "k"}'),
            (4, 'third', '{"dedup_key": "k"}'), (5, 'other', '{"dedup_key": "l"}'), (6, 'bare', null), (7, 'bare', '{}')) as row (n, place, details),
            (values ('00000000-0000-4000-8000-000000000001'::uuid), (null)) as subject (agent)`);
      const open = async () =>
        database.query(
          "select title, count(*)::int as n from alert_history where not resolved group by title order by title",
        );
      const before = await open();
      const refusal: unknown = await migrate(database.db).catch((error: unknown) => error);
      const message = refusal instanceof Error ? refusal.message : "";
      expect(message).toMatch(
        /_alert_keys\.sql, .+: alert_history: 4 open alerts have the details\.dedup_key of another open alert/,
      );
      expect(await open()).toEqual(before);
      const [statement = ""] = /UPDATE alert_history .*;/.exec(message) ?? [];
      await database.script(statement);
      expect((await migrate(database.db)).applied).toContain(MIGRATIONS[place]?.name);
      expect(await open()).toEqual([
        { title: "bare", n: 4 },
        { title: "first", n: 2 },
        { title: "other", n: 2 },
      ]);
    });
  },
  openEmpty,
);
