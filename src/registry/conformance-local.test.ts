import { conformsToDistribution } from '../testing/distribution.conformance.ts'

conformsToDistribution('local/conformance/repo1', 'local/conformance/repo2')
