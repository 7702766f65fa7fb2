import type {
  Candidate, EntitleDecision, EntitleRequest, ExchangeAnswer, ExchangeRequest, FetchRequest, FetchResponse,
  SelectVersionRequest, SignInAnswer, SignInRequest, VersionChoice,
} from "./abi.js";
export * from "./abi.js";

/** What a plugin may export. No answer is an abstention, an exception a failure. */
export interface Plugin {
  /** gets the operator's table [plugin.config], and throws what is wrong with it */
  configure?(config: any): void;
  /** one answer for each app */
  entitle?(request: EntitleRequest): EntitleDecision[] | undefined;
  /** one answer for each app; choice is the index of a candidate or one of Choice */
  selectVersion?(request: SelectVersionRequest): VersionChoice[] | undefined;
  signIn?(request: SignInRequest): SignInAnswer | undefined;
  exchange?(request: ExchangeRequest): ExchangeAnswer | undefined;
}

/** What a host function throws: code is one of Code. */
export declare class HostError extends Error {
  constructor(name: string, code: number);
  readonly code: number;
}

/** Packs the version of a system as the records have it. */
export declare function os(major: number, minor?: number, patch?: number): number;

/** Places a key among BUCKETS: the first 8 bytes of SHA-256(salt, 0x00, key) as a
 * big-endian number, modulo BUCKETS. */
export declare function bucket(key: string | Uint8Array, salt: string | Uint8Array): number;

/** Says whether a version is open to who has the key: a share of it is, always the same
 * people, nobody at 0 and all of them at BUCKETS. Without a key only what is open to all is. */
export declare function rolledOut(key: string, candidate: Candidate): boolean;

/** Writes one line to the operator's log; level is one of Level. The host limits its rate. */
export declare function log(level: number, line: string): void;

/** The value of a key in the plugin's own part of the store, undefined if there is none. */
export declare function kvGet(key: string | Uint8Array): string | undefined;

/** The same for a value that is no text. */
export declare function kvGetBytes(key: string | Uint8Array): Uint8Array | undefined;

/** Stores a value for so many seconds, 0 = for ever. */
export declare function kvPut(key: string | Uint8Array, value: string | Uint8Array, seconds?: number): void;

/** Removes a key; removing none is no error. */
export declare function kvDelete(key: string | Uint8Array): void;

/** Stores a value if the present one is old and says whether it did; an empty old one
 * means that there must be none. */
export declare function kvSwap(key: string | Uint8Array, old: string | Uint8Array, value: string | Uint8Array): boolean;

/** Adds to a counter, which begins at 0, and returns the sum. */
export declare function kvAdd(key: string | Uint8Array, delta: number | bigint): bigint;

/** A hash of a password. */
export declare function passwordHash(password: string): string;

/** Whether the password has this hash; an empty hash takes as long and never matches. */
export declare function passwordVerify(password: string, hash: string): boolean;

/** HMAC-SHA256 (RFC 2104), 32 bytes. */
export declare function hmacSha256(key: string | Uint8Array, data: string | Uint8Array): Uint8Array;

/** Whether a and b are the same; how long it takes depends on their lengths only. */
export declare function equalCt(a: string | Uint8Array, b: string | Uint8Array): boolean;

/** A secret of the plugin's configuration, undefined if there is none; in signIn and
 * exchange only. */
export declare function secret(name: string): string | undefined;

/** Sends a request to another server, GET unless it says otherwise, and returns its
 * answer; in signIn and exchange only. */
export declare function fetch(request: FetchRequest): FetchResponse;

/** Adds to a counter that the operator sees. */
export declare function metricAdd(name: string, value?: number | bigint): void;
