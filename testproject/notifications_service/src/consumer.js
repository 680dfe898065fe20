'use strict';

const { randomUUID } = require('node:crypto');
const { setTimeout: sleep } = require('node:timers/promises');
const amqp = require('amqplib');
const { Poison, isMoved, readEvent } = require('./events');
const { TYPES, compose } = require('./mails');
const { Outage, recordOnce } = require('./store');

const QUEUE = 'notifications';
const PREFETCH = 20;
const PAUSE = 1000; // Before what failed for the database's or the broker's sake.
const PATIENCE = 10_000; // Milliseconds until a broker that says nothing counts as away.

/** The queue with its bindings, and where rejected messages go. */
async function declare(channel, { exchange, queue }) {
  const dead = `${queue}.dead`;
  await channel.assertExchange(exchange, 'topic', { durable: true });
  await channel.assertExchange(dead, 'fanout', { durable: true });
  await channel.assertQueue(dead, {
    durable: true,
    arguments: { 'x-queue-type': 'quorum' },
  });
  await channel.bindQueue(dead, dead, '');
  await channel.assertQueue(queue, {
    durable: true,
    deadLetterExchange: dead,
    arguments: {
      'x-queue-type': 'quorum',
      'x-dead-letter-strategy': 'at-least-once',
      'x-overflow': 'reject-publish', // Which at-least-once needs.
      'x-delivery-limit': 20,
    },
  });
  for (const type of TYPES) await channel.bindQueue(queue, exchange, type);
}

function read(message) {
  const event = readEvent(message);
  if (!TYPES.includes(event.type)) throw new Poison(`${event.type} is unknown`);
  return event;
}

/** Consumes, and connects again whenever the connection ends, until it is stopped. */
class Consumer {
  constructor({ url, exchange = 'domain-events', queue = QUEUE, pool, log = console }) {
    Object.assign(this, { url, exchange, queue, pool, log, voice: undefined });
    this.stopping = new AbortController();
    this.inHand = new Set();
  }

  async run() {
    while (!this.stopping.signal.aborted) {
      try {
        await this.consumeUntilItEnds();
      } catch (error) {
        this.log.error(`RabbitMQ: ${error.message}; trying again`);
      }
      await this.pause();
    }
  }

  /** Take nothing new, finish what is in hand, then let go. */
  async stop() {
    this.stopping.abort();
    if (this.tag) await this.channel.cancel(this.tag).catch(() => {});
    await Promise.allSettled(this.inHand);
    await this.connection?.close().catch(() => {});
  }

  async consumeUntilItEnds() {
    const connection = await amqp.connect(this.url, {
      timeout: PATIENCE,
      clientProperties: { connection_name: 'notifications-service' },
    });
    const ended = new Promise((resolve) => {
      connection.on('close', resolve);
      connection.on('error', (error) => this.log.error(`RabbitMQ: ${error.message}`));
    });
    const channel = await connection.createChannel();
    channel.on('error', (error) => this.log.error(`RabbitMQ: ${error.message}`));
    channel.on('close', () => connection.close().catch(() => {}));
    await declare(channel, this);
    await channel.prefetch(PREFETCH);
    Object.assign(this, { connection, channel, tag: undefined, voice: undefined });
    const { consumerTag } = await channel.consume(this.queue, (message) => {
      if (message === null) {
        // The consumer was cancelled: the queue is gone, or has moved to another node.
        this.log.error('RabbitMQ cancelled the consumer');
        connection.close().catch(() => {});
        return;
      }
      const work = this.settle(channel, message).finally(() => this.inHand.delete(work));
      this.inHand.add(work);
    });
    this.tag = consumerTag;
    this.log.info(`Consuming ${this.queue}`);
    if (this.stopping.signal.aborted) await this.stop(); // It was asked to meanwhile.
    await ended;
  }

  /** Acknowledge what is committed, reject what never can be; then tell how it went. */
  async settle(channel, message) {
    let isMine = false; // What cannot be read is nobody's mail, so none has failed.
    while (true) {
      try {
        const event = read(message);
        isMine = isMoved(event);
        const isNew = isMine && (await recordOnce(this.pool, event, compose(event)));
        this.answer(() => channel.ack(message));
        if (isNew) await this.tell('mail.written');
        return;
      } catch (error) {
        if (!(error instanceof Outage)) {
          // Quoted: whoever publishes chooses the id, and a line of the log is not theirs.
          const id = JSON.stringify(message.properties.messageId);
          this.log.error(`${id} is given up: ${error.message}`);
          this.answer(() => channel.reject(message, false));
          if (isMine) await this.tell('mail.failed');
          return;
        }
        this.log.error(`PostgreSQL: ${error.message}; trying again`);
        await this.pause();
        if (this.stopping.signal.aborted) return; // It comes again.
      }
    }
  }

  /** How it went, for the guard of the monolith's flag: evidence, of which some may get lost. */
  async tell(type) {
    try {
      const voice = await (this.voice ??= this.openVoice());
      voice.publish(this.exchange, type, Buffer.from('{}'), {
        messageId: randomUUID(),
        type,
        appId: 'notifications',
        contentType: 'application/json',
        timestamp: Math.floor(Date.now() / 1000),
      });
    } catch {
      // It is closed, and has said why.
    }
  }

  /** A channel of its own: one that RabbitMQ closes takes its deliveries back. */
  async openVoice() {
    const { connection } = this;
    const again = () => {
      if (connection === this.connection) this.voice = undefined;
    };
    const voice = await connection.createChannel();
    voice.on('error', (error) => this.log.error(`RabbitMQ: ${error.message}`));
    voice.on('close', () => setTimeout(again, PAUSE).unref());
    return voice;
  }

  answer(send) {
    try {
      send();
    } catch (error) {
      // The channel is closed: the message comes again, and is recognised.
      this.log.error(`RabbitMQ: ${error.message}`);
    }
  }

  async pause() {
    await sleep(PAUSE, null, { signal: this.stopping.signal }).catch(() => {});
  }
}

module.exports = { Consumer };
