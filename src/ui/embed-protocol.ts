/**
 * What an embedding page and `embed.html` in its frame say to each other. Every message is an object with `aquatint: 1`; the frame
 * speaks only with the origin named in its address, and only with the page that holds it. Pure: checking is here, sending is not.
 */

import { settingsFromUnknown, type PromptSettings } from './parts/settings.js'

/** What the embedding page may ask. */
export type EmbedRequest =
  /** Sets what is given and leaves the rest. */
  | { readonly type: 'set'; readonly settings: Partial<PromptSettings> }
  /** Sets, then makes pictures; the answer carries the same `id`. */
  | { readonly type: 'generate'; readonly id: string; readonly settings: Partial<PromptSettings> }
  | { readonly type: 'cancel' }

/** What the frame tells. */
export type EmbedMessage =
  | { readonly aquatint: 1; readonly type: 'ready' }
  | { readonly aquatint: 1; readonly type: 'state'; readonly state: string }
  | { readonly aquatint: 1; readonly type: 'step'; readonly step: number; readonly total: number }
  /** `id` is null where the reader pressed the button. `files` are PNGs. */
  | {
      readonly aquatint: 1
      readonly type: 'image'
      readonly id: string | null
      readonly files: readonly File[]
      readonly settings: PromptSettings
    }
  | { readonly aquatint: 1; readonly type: 'error'; readonly id: string | null; readonly code: string; readonly message: string }
  /** The height that the box wants, in CSS pixels. */
  | { readonly aquatint: 1; readonly type: 'height'; readonly height: number }

/** Longest `id` taken. */
const maxId = 200

/** The origin that a frame's address allows, or undefined: then the frame talks with nobody. */
export function allowedOrigin(frame: URL): string | undefined {
  const given = frame.searchParams.get('origin')
  if (given === null || !URL.canParse(given)) return undefined
  const { origin } = new URL(given)
  // A page without an origin of its own (`null`) cannot be told from any other such page.
  return origin === 'null' ? undefined : origin
}

/** A message's data as a request, or undefined when it is none. */
export function parseRequest(data: unknown): EmbedRequest | undefined {
  if (typeof data !== 'object' || data === null) return undefined
  const { aquatint, type, id, settings } = data as Readonly<Record<string, unknown>>
  if (aquatint !== 1) return undefined
  if (type === 'cancel') return { type }
  const checked =
    typeof settings === 'object' && settings !== null ? settingsFromUnknown(settings as Record<string, unknown>) : {}
  if (type === 'set') return { type, settings: checked }
  if (type === 'generate' && typeof id === 'string' && id.length <= maxId) return { type, id, settings: checked }
  return undefined
}
