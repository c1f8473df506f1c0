import { afterEach, expect, test, vi } from 'vitest'
import { GeneratedImage } from './generated-image.js'

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
  vi.restoreAllMocks()
})

test('the URL of a saved picture stays valid until the download can have started, and is then revoked', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout'] })
  const revoked = vi.spyOn(URL, 'revokeObjectURL')
  const link = { href: '', download: '', click: vi.fn() }
  vi.stubGlobal('document', { createElement: () => link })
  await new GeneratedImage({ width: 1, height: 1, data: Uint8ClampedArray.of(1, 2, 3, 255) }).save('a.png')
  expect(link).toMatchObject({ href: expect.stringMatching(/^blob:/), download: 'a.png' })
  expect(link.click).toHaveBeenCalledTimes(1)
  vi.advanceTimersByTime(59_000)
  expect((await (await fetch(link.href)).blob()).type).toBe('image/png')
  expect(revoked).not.toHaveBeenCalled()
  vi.advanceTimersByTime(1_000)
  expect(revoked).toHaveBeenCalledExactlyOnceWith(link.href)
})
