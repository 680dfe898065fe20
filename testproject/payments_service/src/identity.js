'use strict';

// Whom a request is for: Ed25519, one audience, a minute at most.
const { createPublicKey, verify } = require('node:crypto');
const { Refusal } = require('./errors');

const LEEWAY = 5;
const TTL = 60;
const SAFE = ['GET', 'HEAD', 'OPTIONS'];
const refused = { title: 'Unauthorized', status: 401, detail: 'The identity is not believed.' };

class Verifier {
  constructor({ url, audience, issuer = 'monolith', fetchKeys = fetchJson }) {
    Object.assign(this, { url, audience, issuer, fetchKeys, keys: new Map(), asked: -Infinity });
  }

  /** The user's id; null for nobody. What cannot be believed is a 401. */
  async identify({ method, path, headers }, now = Date.now() / 1000) {
    const token = headers['strangler-identity'];
    if (!token) return null;
    const [signed, signature] = token.split(/\.(?=[^.]*$)/); // At the last dot.
    const [head, claims] = signed.split('.').map(decode);
    const key = this.keys.get(head?.kid) ?? (await this.refreshed(head?.kid, now));
    const believed =
      (head?.typ === 'strangler-identity+jwt' && head.alg === 'EdDSA' && key && signature) &&
      verify(null, Buffer.from(signed), key, Buffer.from(signature, 'base64url')) &&
      (claims?.iss === this.issuer && claims.aud === this.audience && typeof claims.sub === 'string') &&
      (claims.exp > now - LEEWAY && claims.iat < now + LEEWAY && claims.iat > now - TTL - LEEWAY) &&
      (SAFE.includes(method) || (claims.htm === method && pathOf(claims.htu) === path));
    if (!believed) throw new Refusal(401, refused);
    return claims.sub;
  }

  async refreshed(kid, now) {
    if (now - this.asked < 30) return undefined; // Or anybody could make us ask all the time.
    this.asked = now;
    const { keys } = await this.fetchKeys(this.url);
    const good = keys.filter((key) => key.kty === 'OKP' && key.crv === 'Ed25519');
    this.keys = new Map(good.map((jwk) => [jwk.kid, createPublicKey({ key: jwk, format: 'jwk' })]));
    return this.keys.get(kid);
  }
}

function decode(part) {
  try {
    return JSON.parse(Buffer.from(part, 'base64url'));
  } catch {
    return null;
  }
}

const pathOf = (url) => decodeURI(String(url).split('?')[0]);

async function fetchJson(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(2000), redirect: 'error' });
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.json();
}

module.exports = { Verifier };
