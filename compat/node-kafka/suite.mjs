// KafkaJS against a broker: producing, groups, commits, transactions, admin, restarts.
// Prints `ok NAME`, `FAIL NAME: why` per test; see compat/harness/report.py.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import kafkajs from 'kafkajs';

const { CompressionTypes, ConfigResourceTypes, Kafka, logLevel, Partitioners } = kafkajs;
const PATIENCE_MS = 15_000;
const bootstrap = process.env.KAFKA_BOOTSTRAP ?? 'localhost:9092';
const unique = (name) => `node.${name}.${randomUUID().slice(0, 8)}`;
const broker = (verb) => promisify(execFile)(process.env.COMPAT_TOOL, [verb]);
const numbers = (from, to) => Array.from({ length: to - from }, (_, number) => String(from + number));
const messages = (from, to) => numbers(from, to).map((value) => ({ value }));

const settings = {
  clientId: 'compat',
  brokers: [bootstrap],
  logLevel: logLevel.ERROR,
  // As they are, but for the pauses between attempts, which grow to half a minute.
  retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 60 },
};

/** What a test uses; all of it is disconnected when the test is over. */
class World {
  kafka = new Kafka(settings);
  #open = [];

  async #keep(client) {
    await client.connect();
    this.#open.push(client);
    return client;
  }

  admin() {
    return this.#keep(this.kafka.admin());
  }

  producer(options = {}) {
    return this.#keep(this.kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...options }));
  }

  async topic(name, numPartitions = 1) {
    const topic = unique(name);
    await (await this.admin()).createTopics({ topics: [{ topic, numPartitions }], waitForLeaders: true });
    return topic;
  }

  /** A member of a group; its `messages` and `assigned` can be awaited with `until`. */
  async member(topic, groupId, { run = {}, ...options } = {}) {
    const consumer = this.kafka.consumer({ groupId, sessionTimeout: 6_000, heartbeatInterval: 200, maxWaitTimeInMs: 500, ...options });
    const member = { consumer, messages: [], assigned: [] };
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      member.assigned = payload.memberAssignment[topic] ?? [];
      look();
    });
    await this.#keep(consumer);
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      eachMessage: async ({ partition, message }) => {
        member.messages.push({ partition, ...message });
        look();
      },
      ...run,
    });
    return member;
  }

  async end() {
    for (const client of this.#open.reverse()) await client.disconnect().catch(() => {});
  }
}

let look = () => {};

/** Waits for a condition that something seen by a member may bring about. */
async function until(condition, what, patience = PATIENCE_MS) {
  await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`not in time: ${what}`)), patience);
    look = () => {
      if (!condition()) return;
      clearTimeout(late);
      resolve();
    };
    look();
  });
  look = () => {};
}

const text = (member) => member.messages.map(({ value }) => value.toString());
const sorted = (list) => [...list].sort((a, b) => a - b);

/** All values that a consumer of this kind sees, up to the last one, which must be `end`. */
async function valuesUntil(world, topic, end, readUncommitted) {
  const member = await world.member(topic, unique('reader'), { readUncommitted });
  await until(() => text(member).at(-1) === end, `${end} comes`);
  await member.consumer.disconnect();
  return text(member);
}

const tests = {
  async 'a record comes back as it was'(world) {
    const topic = await world.topic('record');
    const producer = await world.producer();
    const timestamp = String(Date.now() - 60_000);
    const [sent] = await producer.send({
      topic,
      messages: [
        { key: 'key', value: 'value', headers: { a: ['1', '2'], empty: '' }, timestamp },
        { key: 'tombstone', value: null },
      ],
    });
    assert.deepEqual([sent.partition, sent.baseOffset, sent.errorCode], [0, '0', 0]);
    const { messages: got } = await (async () => {
      const member = await world.member(topic, unique('group'));
      await until(() => member.messages.length === 2, 'two records');
      return member;
    })();
    assert.equal(got[0].key.toString(), 'key');
    assert.equal(got[0].value.toString(), 'value');
    assert.deepEqual(got[0].headers.a.map(String), ['1', '2']);
    assert.equal(got[0].headers.empty.toString(), '');
    assert.equal(got[0].timestamp, timestamp);
    assert.deepEqual([got[1].key.toString(), got[1].value, got[1].offset], ['tombstone', null, '1']);
  },

  async 'acks 0, 1 and all'(world) {
    const topic = await world.topic('acks');
    const producer = await world.producer();
    for (const [acks, from] of [[0, 0], [1, 100], [-1, 200]]) {
      await producer.send({ topic, acks, messages: messages(from, from + 100) });
    }
    assert.deepEqual(await valuesUntil(world, topic, '299'), numbers(0, 300));
  },

  async 'gzip'(world) {
    const topic = await world.topic('gzip');
    const producer = await world.producer();
    await producer.send({ topic, compression: CompressionTypes.GZIP, messages: messages(0, 2_000) });
    assert.deepEqual(await valuesUntil(world, topic, '1999'), numbers(0, 2_000));
  },

  async 'an idempotent producer'(world) {
    const topic = await world.topic('idempotent');
    const producer = await world.producer({ idempotent: true, maxInFlightRequests: 1 });
    for (let from = 0; from < 100; from += 10) await producer.send({ topic, messages: messages(from, from + 10) });
    assert.deepEqual(await valuesUntil(world, topic, '99'), numbers(0, 100));
  },

  async 'a topic is made by producing to it'(world) {
    const topic = unique('made');
    await (await world.producer()).send({ topic, messages: messages(0, 1) });
    assert.deepEqual(await valuesUntil(world, topic, '0'), ['0']);
  },

  async 'a group rebalances as members come and go'(world) {
    const topic = await world.topic('rebalance', 4);
    const group = unique('group');
    const producer = await world.producer();
    const send = async (from, count) => {
      for (let partition = 0; partition < 4; partition++) {
        const start = from + partition * count;
        const values = messages(start, start + count).map((message) => ({ ...message, partition }));
        await producer.send({ topic, messages: values });
      }
    };
    const first = await world.member(topic, group);
    await until(() => first.assigned.length === 4, 'four partitions');
    const second = await world.member(topic, group);
    await until(() => first.assigned.length === 2 && second.assigned.length === 2, 'two partitions each');
    assert.deepEqual(sorted([...first.assigned, ...second.assigned]), [0, 1, 2, 3]);
    await send(0, 5);
    await until(() => first.messages.length + second.messages.length >= 20, 'all records');
    assert.deepEqual(sorted([...text(first), ...text(second)]), numbers(0, 20));
    await second.consumer.disconnect();
    await until(() => first.assigned.length === 4, 'four partitions again');
    await send(20, 1);
    await until(() => numbers(20, 24).every((value) => text(first).includes(value)), 'what came after it');
  },

  async 'commits are where the next member begins'(world) {
    const topic = await world.topic('commits');
    const group = unique('group');
    await (await world.producer()).send({ topic, messages: messages(0, 10) });
    const first = await world.member(topic, group, { run: { autoCommit: false } });
    await until(() => first.messages.length === 10, 'ten records');
    await first.consumer.commitOffsets([{ topic, partition: 0, offset: '6', metadata: 'note é' }]);
    await first.consumer.disconnect();
    const admin = await world.admin();
    const [{ partitions }] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
    assert.deepEqual(partitions, [{ partition: 0, offset: '6', metadata: 'note é' }]);
    const second = await world.member(topic, group);
    await until(() => second.messages.length === 4, 'four records');
    assert.deepEqual(text(second), numbers(6, 10));
  },

  async 'committed is seen and aborted is not'(world) {
    const topic = await world.topic('transactions');
    const producer = await world.producer({ transactionalId: topic, maxInFlightRequests: 1, idempotent: true });
    for (let attempt = 0; attempt < 4; attempt++) {
      const transaction = await producer.transaction();
      await transaction.send({ topic, messages: messages(attempt * 10, attempt * 10 + 10) });
      await (attempt % 2 ? transaction.abort() : transaction.commit());
    }
    await (await world.producer()).send({ topic, messages: [{ value: 'end' }] });
    assert.deepEqual(await valuesUntil(world, topic, 'end', false), [...numbers(0, 10), ...numbers(20, 30), 'end']);
    assert.deepEqual(await valuesUntil(world, topic, 'end', true), [...numbers(0, 40), 'end']);
  },

  async 'offsets are committed in a transaction'(world) {
    const topic = await world.topic('offsets');
    const groupId = unique('group');
    const producer = await world.producer({ transactionalId: topic, maxInFlightRequests: 1, idempotent: true });
    const admin = await world.admin();
    const offset = async () => (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions[0].offset;
    for (const [end, wanted] of [['abort', '-1'], ['commit', '3']]) {
      const transaction = await producer.transaction();
      await transaction.send({ topic, messages: messages(0, 3) });
      await transaction.sendOffsets({
        consumerGroupId: groupId,
        topics: [{ topic, partitions: [{ partition: 0, offset: '3' }] }],
      });
      await transaction[end]();
      assert.equal(await offset(), wanted, end);
    }
  },

  async 'admin: topics, settings, offsets, groups'(world) {
    const admin = await world.admin();
    const topic = await world.topic('admin', 2);
    assert.ok((await admin.listTopics()).includes(topic));
    assert.equal((await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length, 2);
    const cluster = await admin.describeCluster();
    assert.ok(cluster.clusterId && cluster.brokers.some(({ nodeId }) => nodeId === cluster.controller));
    const resource = { type: ConfigResourceTypes.TOPIC, name: topic };
    const retention = async () => {
      const { resources } = await admin.describeConfigs({ resources: [resource], includeSynonyms: false });
      return resources[0].configEntries.find(({ configName }) => configName === 'retention.ms').configValue;
    };
    assert.equal(await retention(), '604800000');
    const configEntries = [{ name: 'retention.ms', value: '60000' }];
    await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries }] });
    while (await retention() !== '60000');
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
    await (await world.producer()).send({ topic, messages: messages(0, 10).map((m) => ({ ...m, partition: 0 })) });
    const offsets = async () => (await admin.fetchTopicOffsets(topic)).find(({ partition }) => partition === 0);
    assert.deepEqual(await offsets(), { partition: 0, offset: '10', high: '10', low: '0' });
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] });
    assert.equal((await offsets()).low, '4');

    const groupId = unique('group');
    const member = await world.member(topic, groupId);
    await until(() => member.messages.length === 6, 'six records');
    const { groups: [group] } = await admin.describeGroups([groupId]);
    assert.deepEqual([group.state, group.protocol, group.members.length], ['Stable', 'RoundRobinAssigner', 1]);
    assert.ok((await admin.listGroups()).groups.some((each) => each.groupId === groupId));
    await member.consumer.disconnect();
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '8' }] });
    const again = await world.member(topic, groupId);
    await until(() => again.messages.length === 2, 'two records');
    await again.consumer.disconnect();
    await admin.deleteGroups([groupId]);
    assert.ok(!(await admin.listGroups()).groups.some((each) => each.groupId === groupId));
    await admin.deleteTopics({ topics: [topic] });
    while ((await admin.listTopics()).includes(topic));
  },

  async 'SASL PLAIN'(world) {
    const topic = await world.topic('sasl');
    const as = (password) => new Kafka({
      ...settings,
      brokers: [process.env.KAFKA_SASL_BOOTSTRAP],
      sasl: { mechanism: 'plain', username: 'guest', password },
      logLevel: logLevel.NOTHING,
    });
    const producer = as('guest').producer({ createPartitioner: Partitioners.DefaultPartitioner });
    await producer.connect();
    await producer.send({ topic, messages: messages(0, 1) });
    await producer.disconnect();
    await assert.rejects(as('no').producer().connect(), { name: 'KafkaJSSASLAuthenticationError' });
  },
};

for (const verb of ['restart', 'crash']) {
  tests[`clients go on after a ${verb}`] = async (world) => {
    const topic = await world.topic(verb, 2);
    const group = unique('group');
    const producer = await world.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.send({ topic, messages: messages(0, 50) });
    const member = await world.member(topic, group, { run: { autoCommit: false } });
    await until(() => member.messages.length === 50, 'fifty records');
    const reached = [0, 1].map((partition) => {
      const count = member.messages.filter((message) => message.partition === partition).length;
      return { topic, partition, offset: String(count) };
    });
    await member.consumer.commitOffsets(reached);

    await broker(verb);

    await producer.send({ topic, messages: messages(50, 100) });
    // It joins as a new member, which must wait until the broker gives the old one up.
    await until(() => member.messages.length >= 100, 'a hundred records', 4 * PATIENCE_MS);
    // Not one is missing, and none that was committed comes again.
    assert.deepEqual(sorted(text(member)), numbers(0, 100));
    await member.consumer.disconnect();
    const admin = await world.admin();
    const [{ partitions }] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
    assert.deepEqual(partitions.map(({ offset }) => offset), reached.map(({ offset }) => offset));
  };
}

const wanted = process.argv[2] ?? '';
let failed = 0;
for (const [name, test] of Object.entries(tests).filter(([name]) => name.includes(wanted))) {
  const world = new World();
  const late = setTimeout(() => {
    console.log(`FAIL ${name}: not done within two minutes`);
    process.exit(1);
  }, 120_000);
  try {
    await test(world);
    console.log(`ok ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}: ${String(error.message ?? error).split('\n')[0]}`);
    console.log(error.stack);
  }
  clearTimeout(late);
  await world.end();
}
process.exit(failed ? 1 : 0);
