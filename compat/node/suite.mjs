// amqplib against a broker: confirms, acks, prefetch, errors, recovery from a restart.
// Prints `ok NAME`, `FAIL NAME: why` per test; see compat/harness/report.py.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { promisify } from 'node:util';
import amqp from 'amqplib';

const PATIENCE_MS = 15_000;
const url = process.env.AMQP_URL ?? 'amqp://guest:guest@localhost:5672/%2F';
const unique = (name) => `node.${name}.${randomUUID().slice(0, 8)}`;
const broker = (verb) => promisify(execFile)(process.env.COMPAT_TOOL, [verb]);

/** A list that can be awaited: `await inbox.reach(3)` ends when three items are there. */
class Inbox {
  items = [];
  #look = () => {};

  add(item) {
    this.items.push(item);
    this.#look();
  }

  async reach(count) {
    await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${this.items.length} of ${count} came`)), PATIENCE_MS);
      this.#look = () => {
        if (this.items.length < count) return;
        clearTimeout(late);
        resolve();
      };
      this.#look();
    });
    return this.items.slice(0, count);
  }

  text() {
    return this.items.map((message) => message.content.toString());
  }
}

async function consume(channel, queue, options) {
  const inbox = new Inbox();
  const { consumerTag } = await channel.consume(queue, (message) => message && inbox.add(message), options);
  return Object.assign(inbox, { consumerTag });
}

const tests = {
  async 'hello: send and receive'(connection) {
    const channel = await connection.createChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    const inbox = await consume(channel, queue, { noAck: true });
    channel.sendToQueue(queue, Buffer.from('hello'));
    const [message] = await inbox.reach(1);
    assert.equal(message.content.toString(), 'hello');
    assert.equal(message.fields.routingKey, queue);
    assert.equal(message.fields.redelivered, false);
  },

  async 'confirm channel: a burst is confirmed and kept in order'(connection) {
    const channel = await connection.createConfirmChannel();
    const queue = unique('confirm');
    await channel.assertQueue(queue, { durable: true });
    let confirmed = 0;
    for (let number = 0; number < 2_000; number++) {
      channel.sendToQueue(queue, Buffer.from(String(number)), { persistent: true }, (error) => {
        assert.equal(error, null);
        confirmed++;
      });
    }
    await channel.waitForConfirms();
    assert.equal(confirmed, 2_000);
    assert.equal((await channel.checkQueue(queue)).messageCount, 2_000);
    const inbox = await consume(channel, queue);
    await inbox.reach(2_000);
    assert.deepEqual(inbox.text(), Array.from({ length: 2_000 }, (_, number) => String(number)));
    channel.ackAll();
    assert.equal((await channel.deleteQueue(queue)).messageCount, 0);
  },

  async 'a full queue that rejects gives a nack'(connection) {
    const channel = await connection.createConfirmChannel();
    const { queue } = await channel.assertQueue('', {
      exclusive: true,
      maxLength: 1,
      arguments: { 'x-overflow': 'reject-publish' },
    });
    const sent = promisify((text, done) => channel.sendToQueue(queue, Buffer.from(text), {}, done));
    await sent('fits');
    await assert.rejects(sent('does not'), /nack/);
  },

  async 'an unroutable mandatory message is returned, then confirmed'(connection) {
    const channel = await connection.createConfirmChannel();
    const events = [];
    channel.on('return', (message) => events.push(`returned ${message.content} ${message.fields.replyCode}`));
    channel.publish('amq.direct', unique('nobody'), Buffer.from('x'), { mandatory: true }, () => events.push('confirmed'));
    await channel.waitForConfirms();
    assert.deepEqual(events, ['returned x 312', 'confirmed']);
  },

  async 'ack, nack and reject'(connection) {
    const channel = await connection.createConfirmChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    const inbox = await consume(channel, queue);
    for (const text of ['a', 'b', 'c']) channel.sendToQueue(queue, Buffer.from(text));
    const [a, b, c] = await inbox.reach(3);
    channel.ack(a);
    channel.nack(b, false, true);
    channel.reject(c, false);
    const again = (await inbox.reach(4))[3];
    assert.deepEqual([again.content.toString(), again.fields.redelivered], ['b', true]);
    channel.ack(again);
    assert.equal((await channel.checkQueue(queue)).messageCount, 0);
  },

  async 'prefetch holds back, per consumer'(connection) {
    const channel = await connection.createConfirmChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    for (let number = 0; number < 10; number++) channel.sendToQueue(queue, Buffer.from(String(number)));
    await channel.waitForConfirms();
    await channel.prefetch(3);
    const first = await consume(channel, queue);
    await first.reach(3);
    await channel.prefetch(2);
    const second = await consume(channel, queue);
    await second.reach(2);
    assert.equal((await channel.checkQueue(queue)).messageCount, 5);
    for (const message of first.items.slice(0, 3)) channel.ack(message);
    await first.reach(6);
    assert.equal((await channel.checkQueue(queue)).messageCount, 2);
    assert.deepEqual([first.items.length, second.items.length], [6, 2]);
  },

  async 'prefetch of a whole channel'(connection) {
    const channel = await connection.createConfirmChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    for (let number = 0; number < 6; number++) channel.sendToQueue(queue, Buffer.from(String(number)));
    await channel.waitForConfirms();
    await channel.prefetch(4, true);
    const both = new Inbox();
    await channel.consume(queue, (message) => both.add(message));
    await channel.consume(queue, (message) => both.add(message));
    await both.reach(4);
    assert.equal((await channel.checkQueue(queue)).messageCount, 2);
    channel.ackAll();
    await both.reach(6);
  },

  async 'get, purge and delete'(connection) {
    const channel = await connection.createConfirmChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    assert.equal(await channel.get(queue), false);
    for (let number = 0; number < 3; number++) channel.sendToQueue(queue, Buffer.from(String(number)));
    await channel.waitForConfirms();
    const message = await channel.get(queue);
    assert.deepEqual([message.content.toString(), message.fields.messageCount], ['0', 2]);
    channel.nack(message);
    const { messageCount } = await channel.purgeQueue(queue);
    assert.equal(messageCount, 3);
  },

  async 'headers and properties come back'(connection) {
    const channel = await connection.createChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    const inbox = await consume(channel, queue, { noAck: true });
    const headers = {
      text: 'ž站', int: -5, large: 2 ** 40, real: 1.5, yes: true, nothing: null,
      list: [1, 'two', [true, { three: 3 }]], table: { a: { b: [] } },
      bytes: Buffer.from([0, 255]), time: { '!': 'timestamp', value: 1_700_000_000 },
      short: { '!': 'int16', value: -2 }, byte: { '!': 'int8', value: -1 },
      float: { '!': 'float', value: 0.5 }, decimal: { '!': 'decimal', value: { digits: 314, places: 2 } },
    };
    const properties = {
      headers, contentType: 'text/plain', contentEncoding: 'utf-8', priority: 3, correlationId: 'c', replyTo: 'r',
      expiration: '60000', messageId: 'm', timestamp: 1_700_000_000, type: 't', userId: 'guest', appId: 'a',
    };
    channel.sendToQueue(queue, Buffer.alloc(0), { ...properties, persistent: true });
    const got = (await inbox.reach(1))[0].properties;
    const { float, short, byte, time, decimal, ...plain } = got.headers;
    const { float: _f, short: _s, byte: _b, time: _t, decimal: _d, ...sent } = headers;
    assert.deepEqual(plain, sent);
    assert.deepEqual([float, short, byte], [0.5, -2, -1]);
    assert.equal(time.value, 1_700_000_000);
    assert.deepEqual(decimal.value, { digits: 314, places: 2 });
    for (const key of Object.keys(properties).filter((key) => key !== 'headers')) {
      assert.equal(got[key], properties[key], key);
    }
    assert.equal(got.deliveryMode, 2);
  },

  async 'large bodies'(connection) {
    const channel = await connection.createConfirmChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    const inbox = await consume(channel, queue, { noAck: true });
    for (const size of [0, 1, 4_088, 131_064, 131_065, 4 << 20]) {
      const body = Buffer.alloc(size, 'yam!');
      channel.sendToQueue(queue, body);
      await inbox.reach(1);
      assert.ok(inbox.items.pop().content.equals(body), `${size} bytes`);
    }
  },

  async 'topic and headers routing, exchange to exchange'(connection) {
    const channel = await connection.createConfirmChannel();
    const { queue } = await channel.assertQueue('', { exclusive: true });
    const [topic, headers] = [unique('topic'), unique('headers')];
    await channel.assertExchange(topic, 'topic', { autoDelete: true });
    await channel.assertExchange(headers, 'headers', { autoDelete: true });
    await channel.bindExchange(headers, topic, 'log.#');
    await channel.bindQueue(queue, headers, '', { 'x-match': 'any', level: 'error', code: 7 });
    const inbox = await consume(channel, queue, { noAck: true });
    channel.publish(topic, 'log.disk', Buffer.from('yes'), { headers: { level: 'error' } });
    channel.publish(topic, 'log.disk', Buffer.from('no'), { headers: { level: 'info' } });
    channel.publish(topic, 'metric.disk', Buffer.from('no'), { headers: { level: 'error' } });
    channel.publish(topic, 'log', Buffer.from('too'), { headers: { code: 7 } });
    await channel.waitForConfirms();
    await inbox.reach(2);
    assert.deepEqual(inbox.text(), ['yes', 'too']);
  },

  async 'an error ends its channel, not the connection'(connection) {
    const [good, bad] = [await connection.createChannel(), await connection.createChannel()];
    const failed = once(bad, 'error');
    await assert.rejects(bad.checkQueue(unique('missing')), /NOT_FOUND/);
    assert.equal((await failed)[0].code, 404);
    const queue = unique('equal');
    await good.assertQueue(queue, { exclusive: true });
    const other = await connection.createChannel();
    other.on('error', () => {});
    await assert.rejects(other.assertQueue(queue, { exclusive: true, maxLength: 5 }), /PRECONDITION_FAILED/);
    await good.deleteQueue(queue);
  },

  async 'a consumer is told when its queue goes'(connection) {
    const channel = await connection.createChannel();
    const queue = unique('gone');
    await channel.assertQueue(queue, { durable: true });
    const told = new Inbox();
    await channel.consume(queue, (message) => told.add(message));
    await channel.deleteQueue(queue);
    assert.deepEqual(await told.reach(1), [null]);
  },

  async 'wrong password and vhost are refused'() {
    const bad = new URL(url);
    bad.password = 'wrong';
    await assert.rejects(amqp.connect(bad.href), /403|ACCESS_REFUSED/);
    // amqplib says only that it did not get open-ok.
    await assert.rejects(amqp.connect(`${url.replace(/%2F$/, '')}nope`), /ConnectionClose/);
  },

  async 'recovers from a restart of the broker'() {
    const queue = unique('restart');
    const inbox = new Inbox();
    let channel;
    const connection = await amqp.connect(url, {
      recovery: {
        initialDelay: 100,
        maxDelay: 500,
        async setup(model) {
          channel = await model.createConfirmChannel();
          await channel.assertQueue(queue, { durable: true });
          await channel.prefetch(10);
          await channel.consume(queue, (message) => inbox.add(message));
        },
      },
    });
    connection.on('error', () => {});
    for (let number = 0; number < 20; number++) channel.sendToQueue(queue, Buffer.from(String(number)), { persistent: true });
    await channel.waitForConfirms();
    await inbox.reach(10);
    for (const message of inbox.items.slice(0, 5)) channel.ack(message);
    // The acks are settled when a publish sent after them on their channel is confirmed.
    channel.sendToQueue(queue, Buffer.from('20'), { persistent: true });
    await channel.waitForConfirms();
    await inbox.reach(15);
    inbox.items = [];

    const again = once(connection, 'connect', { signal: AbortSignal.timeout(PATIENCE_MS * 4) });
    await broker('restart');
    await again;

    for (let taken = 0; taken < 16; taken++) {
      const message = (await inbox.reach(taken + 1))[taken];
      channel.ack(message);
    }
    assert.deepEqual(inbox.text(), Array.from({ length: 16 }, (_, number) => String(number + 5)));
    assert.ok(inbox.items.slice(0, 10).every((message) => message.fields.redelivered));
    channel.sendToQueue(queue, Buffer.from('after'), { persistent: true });
    await channel.waitForConfirms();
    assert.equal((await inbox.reach(17))[16].content.toString(), 'after');
    channel.ack(inbox.items[16]);
    assert.equal((await channel.deleteQueue(queue)).messageCount, 0);
    await connection.close();
  },
};

const wanted = process.argv[2] ?? '';
let failed = 0;
for (const [name, test] of Object.entries(tests).filter(([name]) => name.includes(wanted))) {
  let connection;
  const late = setTimeout(() => {
    console.log(`FAIL ${name}: not done within two minutes`);
    process.exit(1);
  }, 120_000);
  try {
    connection = await amqp.connect(url);
    connection.on('error', () => {});
    await test(connection);
    console.log(`ok ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}: ${String(error.message ?? error).split('\n')[0]}`);
    console.log(error.stack);
  }
  clearTimeout(late);
  await connection?.close().catch(() => {});
}
process.exit(failed ? 1 : 0);
