/**
 * The messages between an embedding page and `embed.html` in its frame. Every message is an object with `aquatint: 1`. The frame exchanges
 * messages only with its parent page, and only if the parameter `origin` of the frame's URL gives that page's origin. Pure: this file
 * parses messages, `embed.ts` sends them.
 */

import { settingsFromUnknown, type PromptSettings } from './parts/settings.js'

/** The requests of the embedding page. */
export type EmbedRequest =
  /** Changes the given settings only. */
  | { readonly type: 'set'; readonly settings: Partial<PromptSettings> }
  /** Changes the given settings, then generates pictures; the response has the same `id`. */
  | { readonly type: 'generate'; readonly id: string; readonly settings: Partial<PromptSettings> }
  | { readonly type: 'cancel' }

/** The messages of the frame. */
export type EmbedMessage =
  | { readonly aquatint: 1; readonly type: 'ready' }
  | { readonly aquatint: 1; readonly type: 'state'; readonly state: string }
  | { readonly aquatint: 1; readonly type: 'step'; readonly step: number; readonly total: number }
  /** Pictures were generated. `id` is null if the user pressed the button; `files` are PNGs. */
  | {
      readonly aquatint: 1
      readonly type: 'image'
      readonly id: string | null
      readonly files: readonly File[]
      readonly settings: PromptSettings
    }
  | { readonly aquatint: 1; readonly type: 'error'; readonly id: string | null; readonly code: string; readonly message: string }
  /** The height that the box needs, in CSS pixels. */
  | { readonly aquatint: 1; readonly type: 'height'; readonly height: number }

/** The longest `id` that is accepted. */
const maxId = 200

/** The origin in the URL of a frame; if undefined, the frame sends and accepts no messages. */
export function allowedOrigin(frame: URL): string | undefined {
  const given = frame.searchParams.get('origin')
  if (given === null || !URL.canParse(given)) return undefined
  const { origin } = new URL(given)
  // Pages with an opaque origin (`null`) cannot be distinguished from each other.
  return origin === 'null' ? undefined : origin
}

/** Parses the data of a message; undefined if it is not a request. */
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
