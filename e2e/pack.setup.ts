/** Packs the library as npm would publish it, once for all specs that use the package. */

import { packLibrary } from './ui/packed.js'
import { expect, test } from '@playwright/test'

test('the library is packed', () => {
  expect(packLibrary()).toMatch(/aquatint-[\d.]+\.tgz$/)
})
