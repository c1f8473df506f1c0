/** Packs the library as npm would publish it, once for all specs that use the package. */

import { packLibrary, packedLibrary } from './ui/packed.js'
import { expect, test } from '@playwright/test'

test('the library is packed', () => {
  // In `npm test`, an earlier check has packed the library, because several checks need it at the same time.
  const path = process.env['AQUATINT_PACKED'] === undefined ? packLibrary() : packedLibrary()
  expect(path).toMatch(/aquatint-[\d.]+\.tgz$/)
})
