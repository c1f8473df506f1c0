/** Describes an error to people: a title, the message of the error, and what they can do. Pure. */

import { isAquatintError } from '../../index.js'

/** The words for an error. */
export interface ErrorWords {
  readonly title: string
  readonly message: string
  readonly advice: string
}

// Errors are compared by name, not by class, because they may come from a second copy of the library.
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
  advice: 'Choose a smaller picture or smaller weights (q8 or q4).',
}

const checkName = { advice: 'Check the model’s name.' }
/** The words for errors that only the owner of the page can repair. */
const blocked = { title: 'The page does not let Aquatint run', advice: 'The owner of the page has to change its policy.' }

/** Codes whose words differ from those of their error class. */
const byCode: Readonly<Record<string, Partial<Omit<ErrorWords, 'message'>>>> = {
  'file-not-found': checkName,
  'repository-not-found': checkName,
  'revision-not-found': checkName,
  'listing-unavailable': checkName,
  'html-page': checkName,
  gated: { advice: 'Set the access token in the settings.' },
  forbidden: { advice: 'Check the model’s name, the access token, and that the files are public.' },
  cors: { advice: 'The owner of the server has to change its settings.' },
  'blocked-by-page': { advice: blocked.advice },
  'engine-blocked': blocked,
  'engine-not-fetched': { title: 'Aquatint could not be loaded', advice: 'Connect to the network, then try again.' },
  'runtime-not-loaded': {
    title: 'The runtime could not be loaded',
    advice: 'Reload the page. If that fails, its owner has to change it.',
  },
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
