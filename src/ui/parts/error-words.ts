/** Describes an error to people: a title, the message of the error, and what they can do. Pure. */

import { isAquatintError } from '../../index.js'

/** The words for an error. */
export interface ErrorWords {
  readonly title: string
  readonly message: string
  readonly advice: string
}

// By name, not by class: the error may come from a second copy of the library.
const words: Readonly<Record<string, Omit<ErrorWords, 'message'>>> = {
  InputError: { title: 'Invalid setting', advice: 'Change the setting and try again.' },
  HubError: {
    title: 'The model could not be downloaded',
    advice: 'Downloaded data is kept; retrying resumes.',
  },
  StorageError: {
    title: 'The browser’s storage failed',
    advice: 'Free some disk space, or delete a model under “Models”, then try again.',
  },
  CheckpointError: {
    title: 'The model’s files are invalid',
    advice: 'Only the owner of the repository can fix this. Try another model.',
  },
  UnsupportedError: {
    title: 'Aquatint does not support this model',
    advice: 'It uses a feature that is not supported yet. Try another model.',
  },
  DeviceError: {
    title: 'The device failed',
    advice: 'Try again. If it fails again, choose a smaller size or close other tabs that use the GPU.',
  },
}

/** Codes whose messages leave open what to do. The messages of all others say it. */
const byCode: Readonly<Record<string, string>> = {
  'file-not-found': 'Check the model’s name.',
  'repository-not-found': 'Check the model’s name.',
  network: 'Check the model’s name and your connection. Downloaded data is kept; retrying resumes.',
  stalled: 'Check your connection. Downloaded data is kept; retrying resumes.',
}

/** What to show for an error. */
export function errorWords(error: unknown): ErrorWords {
  const message = error instanceof Error ? error.message : String(error)
  const known = isAquatintError(error) ? words[error.name] : undefined
  if (known === undefined) return { message, title: 'Unexpected error', advice: 'Please try again.' }
  const advice = isAquatintError(error) && Object.hasOwn(byCode, error.code) ? byCode[error.code] : undefined
  return { message, ...known, ...(advice === undefined ? {} : { advice }) }
}
