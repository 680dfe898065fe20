'use strict';

// An outbox for services in other languages: the monolith's table, in our transaction.
// docs/howto/outbox_from_another_language.md of django-strangler has the rules.
const { randomUUID } = require('node:crypto');
const { crc32 } = require('node:zlib');

const LANES = 32; // Part of the table's format.

/** Write an event; it exists if and only if the client's transaction commits. */
async function publish(client, type, payload, { key, headers = {} }) {
  const body = asAscii(JSON.stringify(payload));
  await client.query(
    `INSERT INTO strangler_outboxevent
       (event_id, type, key, lane, body, size, headers, correlation_id, published_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, '', clock_timestamp())`,
    [randomUUID(), type, key, crc32(key) % LANES, body, body.length, JSON.stringify(headers)],
  );
}

/** The same JSON in ASCII, which no database's character set can alter. */
function asAscii(json) {
  return json.replace(
    /[\u007f-\uffff]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

module.exports = { asAscii, publish };
