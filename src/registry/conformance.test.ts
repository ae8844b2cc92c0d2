import { conformsToDistribution } from '../testing/distribution.conformance.ts'

conformsToDistribution('conformance/repo1', 'conformance/repo2')
