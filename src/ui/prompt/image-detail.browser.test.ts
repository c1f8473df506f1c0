import { afterEach, expect, test, vi } from 'vitest'
import { saveFile } from './image-detail.js'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

test('the URL of a saved file stays valid until the download can have started, and is then revoked', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout'] })
  const revoked = vi.spyOn(URL, 'revokeObjectURL')
  const click = vi.spyOn(HTMLAnchorElement.prototype, 'click').mockImplementation(() => {})
  saveFile(new File(['a picture'], 'a.png'))
  const [link] = click.mock.contexts
  if (!(link instanceof HTMLAnchorElement)) throw new Error('No link was clicked')
  expect(link.download).toBe('a.png')
  vi.advanceTimersByTime(59_000)
  expect(await (await fetch(link.href)).text()).toBe('a picture')
  expect(revoked).not.toHaveBeenCalled()
  vi.advanceTimersByTime(1_000)
  expect(revoked).toHaveBeenCalledExactlyOnceWith(link.href)
})
