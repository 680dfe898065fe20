'use strict';

// What this service needs of each event, against what the monolith says it sends. Both lie
// in the monolith's folder of contracts; a service with a repository of its own has copies.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const Ajv = require('ajv');
const { readEvent } = require('../src/events');
const { TYPES, compose } = require('../src/mails');

const CONTRACTS = path.join(__dirname, '../../contracts');
const NEEDS = path.join(CONTRACTS, 'needs/notifications-service');
const read = (...names) => JSON.parse(fs.readFileSync(path.join(...names)));

/** The message as amqplib hands it over. */
function asMessage(sample, payload = sample.content) {
  return { ...sample, content: Buffer.from(JSON.stringify(payload)) };
}

/** No more than what is needed. */
function pruned(payload, needs) {
  const names = Object.keys(needs.properties);
  return Object.fromEntries(names.map((name) => [name, payload[name]]));
}

test('there are needs for each type that is consumed, and for no other', () => {
  const files = fs.readdirSync(NEEDS).map((name) => path.basename(name, '.json'));

  assert.deepEqual(files.sort(), [...TYPES].sort());
});

for (const type of TYPES) {
  const needs = read(NEEDS, `${type}.json`);
  const { messages } = read(CONTRACTS, 'samples', `${type}.json`);

  test(`what comes as ${type} is what is needed`, () => {
    const check = new Ajv({ strictRequired: true }).compile(needs);
    for (const { content } of messages) assert(check(content), JSON.stringify(check.errors));
  });

  test(`a mail is made of what the needs of ${type} name, and of nothing else`, () => {
    for (const sample of messages) {
      const whole = compose(readEvent(asMessage(sample)));
      const least = compose(readEvent(asMessage(sample, pruned(sample.content, needs))));
      assert.deepEqual(least, whole);
    }
  });

  for (const name of needs.required) {
    test(`without ${name}, ${type} cannot be handled: it is needed indeed`, () => {
      const { [name]: _, ...rest } = messages[0].content;
      assert.throws(() => compose(readEvent(asMessage(messages[0], rest))));
    });
  }
}
