/** The rules by which browsers decide how long they store the downloads of the page. */

/** The rules that apply to this page. */
export interface StorageRules {
  /** Whether the page can ask the browser to keep its data (`navigator.storage.persist`). */
  readonly canAsk: boolean
  /** Whether the browser has agreed to keep the data. */
  readonly persisted: boolean
  /** Whether the engine is Safari's. Safari grants or refuses `persist` without asking the user. */
  readonly isWebKit: boolean
  /** Whether the engine is Firefox's, which limits the data of a site. */
  readonly isGecko: boolean
  /** Whether the page runs as an installed app: on the Home Screen or in the Dock. */
  readonly installed: boolean
}

/**
 * What Safari does with the data of pages that are not visited; undefined where this rule does not apply.
 * https://webkit.org/tracking-prevention/ and https://webkit.org/blog/14403/updates-to-storage-policy/
 */
export function expiryNote({ persisted, isWebKit, installed }: StorageRules): string | undefined {
  return isWebKit && !installed && !persisted
    ? 'Safari deletes downloaded models after seven days on which you used Safari but not this page, unless the page is on the Home Screen or in the Dock.'
    : undefined
}

/**
 * How much Firefox stores for a site; undefined where this rule does not apply.
 * https://developer.mozilla.org/docs/Web/API/Storage_API/Storage_quotas_and_eviction_criteria
 */
export function limitNote({ persisted, isGecko }: StorageRules): string | undefined {
  return isGecko && !persisted
    ? 'Firefox stores at most 10.7 GB of downloaded models for a site, and at most a tenth of the disk, until it has agreed to keep them.'
    : undefined
}

/** Reads the rules. Never rejects. */
export async function readStorageRules(): Promise<StorageRules> {
  // `persist` and `persisted` are missing on insecure origins and in WebKitGTK.
  const storage = navigator.storage as Partial<StorageManager> | undefined
  const persisted = await storage?.persisted?.().catch(() => false)
  return {
    canAsk: storage?.persist !== undefined,
    persisted: persisted === true,
    isWebKit: navigator.vendor.startsWith('Apple'),
    // Other engines say “like Gecko”.
    isGecko: /\bGecko\/\d/.test(navigator.userAgent),
    installed: matchMedia('(display-mode: standalone)').matches,
  }
}
