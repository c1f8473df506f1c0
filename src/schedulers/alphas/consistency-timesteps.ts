/** The timesteps of consistency models (LCM, TCD): evenly spaced indices of the timesteps with which the model was distilled. */

import { InputError } from '../../errors.js'
import { linspace } from '../numpy.js'

/**
 * The timesteps of a run, in falling order.
 * @throws InputError `num-inference-steps` if the distillation has more steps than the training
 */
export function consistencyTimesteps(steps: number, originalSteps: number, trainSteps: number): number[] {
  if (originalSteps > trainSteps)
    throw new InputError(
      'num-inference-steps',
      `original_inference_steps is ${originalSteps}; allowed are at most num_train_timesteps, ${trainSteps}.`,
      { numInferenceSteps: originalSteps, allowed: trainSteps },
    )
  const stride = Math.floor(trainSteps / originalSteps)
  return linspace(0, originalSteps, steps, false).map((index) => (originalSteps - Math.floor(index)) * stride - 1)
}
