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
  if (error instanceof InputError) return { title: 'Invalid setting', advice: 'Change the setting and try again.' }
  if (error instanceof HubError) {
    return {
      title: 'The model could not be downloaded',
      advice: 'Check the model’s name and your connection. Downloaded data is kept; retrying resumes.',
    }
  }
  if (error instanceof StorageError) {
    return {
      title: 'The browser’s storage failed',
      advice: 'Free some disk space, or delete a model under “Models”, then try again.',
    }
  }
  if (error instanceof CheckpointError) {
    return {
      title: 'The model’s files are invalid',
      advice: 'Only the owner of the repository can fix this. Try another model.',
    }
  }
  if (error instanceof UnsupportedError) {
    return {
      title: 'Aquatint does not support this model',
      advice: 'It uses a feature that is not supported yet. Try another model.',
    }
  }
  if (error instanceof DeviceError) {
    return {
      title: 'The device failed',
      advice: 'Try again. If it fails again, choose a smaller size or close other tabs that use the GPU.',
    }
  }
  return { title: isAquatintError(error) ? 'Something went wrong' : 'Unexpected error', advice: 'Please try again.' }
}
