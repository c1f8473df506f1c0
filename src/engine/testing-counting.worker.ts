/** For tests: the entry of the worker, with its compute pipelines counted. Not part of the library. */

// Both imports are complete when this script has run, so the worker then has its listeners and receives the page's first message.
import './testing-count-kernels.js'
import './engine.worker.js'
