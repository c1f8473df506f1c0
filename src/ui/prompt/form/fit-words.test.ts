import { expect, test } from 'vitest'
import { fitWords } from './fit-words.js'

test.each([
  [{ width: 800, height: 600 }, { width: 512, height: 512 }, 'Cropped at the left and the right to fit 512 × 512.'],
  [{ width: 300, height: 600 }, { width: 512, height: 512 }, 'Cropped at the top and the bottom to fit 512 × 512.'],
  [{ width: 1024, height: 1024 }, { width: 512, height: 512 }, 'Scaled to 512 × 512.'],
  [{ width: 512, height: 256 }, { width: 512, height: 256 }, 'Used in full.'],
  [{ width: 512, height: 256 }, undefined, 'Scaled to the size of the result, and cropped if its shape differs.'],
  [undefined, { width: 8, height: 8 }, 'Scaled to the size of the result, and cropped if its shape differs.'],
])('a picture of %j for a result of %j', (picture, result, words) => expect(fitWords(picture, result)).toBe(words))
