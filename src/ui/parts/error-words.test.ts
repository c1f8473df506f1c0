/** The words for errors on the page. */
import { expect, test } from 'vitest'
import { DeviceError, HubError } from '../../errors.js'
import { errorWords } from './error-words.js'

test('for a model that does not fit, the words do not blame the device and do not advise to try again', () => {
  for (const code of ['does-not-fit', 'buffer-too-large'] as const) {
    const { title, advice, message } = errorWords(
      new DeviceError<'does-not-fit' | 'buffer-too-large'>(code, 'unet needs 5 GB.', {} as never),
    )
    expect(title).toBe('There is not enough memory')
    expect(advice).not.toContain('Try again')
    expect(message).toBe('unet needs 5 GB.')
  }
})

test('an error that only the owner of a page or a server can repair says so, and does not advise the visitor to try again', () => {
  const errors = [
    new DeviceError('engine-blocked', '', {}),
    new HubError('blocked-by-page', '', { path: '', url: '' }),
    new HubError('cors', '', { path: '', url: '' }),
  ]
  for (const error of errors) expect(errorWords(error).advice).toMatch(/^The owner of the (?:page|server) has to change its/)
  expect(errorWords(errors[0]).title).toBe('The page does not let Aquatint run')
})

test('other codes have the title of their class, and some have advice of their own', () => {
  expect(errorWords(new HubError('file-not-found', 'There is no a.json.', {}))).toEqual({
    title: 'The model could not be downloaded',
    message: 'There is no a.json.',
    advice: 'Check the model’s name.',
  })
  expect(errorWords(new Error('odd')).title).toBe('Unexpected error')
})
