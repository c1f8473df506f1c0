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

const doesNotFit = {
  title: 'There is not enough memory',
  advice: 'Choose a smaller picture, smaller weights (q8 or q4), or more memory.',
}

/** Codes with other words than their class. */
const byCode: Readonly<Record<string, Partial<Omit<ErrorWords, 'message'>>>> = {
  'file-not-found': { advice: 'Check the model’s name.' },
  'repository-not-found': { advice: 'Check the model’s name.' },
  network: { advice: 'Check the model’s name and your connection. Downloaded data is kept; retrying resumes.' },
  stalled: { advice: 'Check your connection. Downloaded data is kept; retrying resumes.' },
  'does-not-fit': doesNotFit,
  'buffer-too-large': doesNotFit,
}

/** What to show for an error. */
export function errorWords(error: unknown): ErrorWords {
  const message = error instanceof Error ? error.message : String(error)
  const known = isAquatintError(error) ? words[error.name] : undefined
  if (known === undefined) return { message, title: 'Unexpected error', advice: 'Please try again.' }
  const own = isAquatintError(error) && Object.hasOwn(byCode, error.code) ? byCode[error.code] : undefined
  return { message, ...known, ...own }
}
