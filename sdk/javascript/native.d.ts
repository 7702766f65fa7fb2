import type { FetchRequest, FetchResponse, Plugin } from "./index.js";

/** The plugin's part of the store. */
export declare const kv: Map<string, string | Uint8Array>;
/** What log was given, as [level, line]. */
export declare const logged: [level: number, line: string][];
/** What metricAdd has added up. */
export declare const metrics: Map<string, bigint>;
/** The plugin's secrets. */
export declare const secrets: Map<string, string>;

/** Sets the function that answers fetch, with a response or a Code. */
export declare function serve(answer: (request: Required<FetchRequest>) => Partial<FetchResponse> | number): void;

/** Empties everything, between two tests. */
export declare function reset(): void;

type Question<T> = T extends bigint ? bigint | number | string : T extends (infer E)[] ? Question<E>[] : T extends object ? { [K in keyof T]?: Question<T[K]> } : T;

/** Gives a question to a plugin's function, with zeros for what is left out, and returns
 * its answer; undefined is an abstention. It throws what the function throws, and what
 * the host would refuse. */
export declare function ask<P extends Plugin, H extends Exclude<keyof Plugin, "configure">>(
  plugin: P, hook: H, request: Question<Parameters<NonNullable<Plugin[H]>>[0]>,
): ReturnType<NonNullable<Plugin[H]>>;
