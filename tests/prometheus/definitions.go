// Package prometheus pins the module of the Prometheus operator, whose custom resource definitions a test applies:
// `privatekube-cluster build prometheus` copies them from the module's folder `example`. Nothing of the package is used.
package prometheus

import _ "github.com/prometheus-operator/prometheus-operator/pkg/versionutil"
