// Command coredns is the CoreDNS server with the plugins that the test cluster's Corefile uses.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func init() {
	// The order in which CoreDNS calls the plugins, as in its own plugin.cfg.
	dnsserver.Directives = []string{"bind", "ready", "errors", "cache", "template", "kubernetes"}
}

func main() {
	coremain.Run()
}
