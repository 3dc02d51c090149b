// SPDX-License-Identifier: Apache-2.0
module exhibit.test/sumdb

go 1.18

require golang.org/x/mod v0.17.0
