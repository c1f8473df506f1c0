/** The drivers, by the name of the engine. */

import { chromiumEngine } from './chromium.js'
import { firefoxEngine } from './firefox.js'
import type { Engine, EngineName } from './types.js'
import { webKitEngine } from './webkit.js'

/** Every engine that specs and parity can run in. */
export const engines: Readonly<Record<EngineName, Engine>> = {
  chromium: chromiumEngine,
  firefox: firefoxEngine,
  webkit: webKitEngine,
}
