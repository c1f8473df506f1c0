/** Errors for people: what happened in one line, what they can do in the next. The error's own message says the exact case. */

import {
  CheckpointError,
  DeviceError,
  HubError,
  InputError,
  isAquatintError,
  StorageError,
  UnsupportedError,
} from '../../index.js'

/** An error in plain words. */
export interface ErrorWords {
  readonly title: string
  readonly message: string
  readonly advice: string
}

/** What to show for an error. */
export function errorWords(error: unknown): ErrorWords {
  const message = error instanceof Error ? error.message : String(error)
  return { message, ...titleAndAdvice(error) }
}

function titleAndAdvice(error: unknown): { title: string; advice: string } {
  if (error instanceof InputError)
    return { title: 'This cannot be run as it is set', advice: 'Change the setting and try again.' }
  if (error instanceof HubError) {
    return {
      title: 'The model could not be fetched',
      advice: 'Check its name and your connection. What has come already is kept; trying again goes on from there.',
    }
  }
  if (error instanceof StorageError) {
    return {
      title: 'The browser’s storage refused',
      advice: 'Free some space on this disk, or delete a model under “Models”, then try again.',
    }
  }
  if (error instanceof CheckpointError) {
    return {
      title: 'The model’s files do not fit together',
      advice: 'The repository has to be mended by its owner. Try another one.',
    }
  }
  if (error instanceof UnsupportedError) {
    return { title: 'Aquatint cannot run this model', advice: 'It uses something that is not supported yet. Try another one.' }
  }
  if (error instanceof DeviceError) {
    return {
      title: 'The device failed',
      advice: 'Try again; if it fails again, choose a smaller size or close other tabs that use the GPU.',
    }
  }
  return { title: isAquatintError(error) ? 'It did not work' : 'Something unexpected went wrong', advice: 'Please try again.' }
}
