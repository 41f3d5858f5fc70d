// vcsim serves govmomi's simulated vCenter on loopback until SIGINT or SIGTERM: the second opinion
// that the contract tests ask besides tests/fakes/vcenter.
//
// It is a program of its own because govmomi's vcsim is a module with a replace directive, which
// "go install" refuses; the simulator library is the same. Build it with "make vcsim".
//
// Once it serves, it prints one line of JSON: {"url": ..., "ca_file": ...}.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	_ "github.com/vmware/govmomi/pbm/simulator" // registers the /pbm endpoint
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

func main() {
	model := simulator.VPX()
	listen := flag.String("l", "127.0.0.1:0", "address to listen on; port 0 picks a free one")
	user := flag.String("username", "", "login user (empty: any)")
	password := flag.String("password", "", "login password")
	delays := flag.String("method-delay", "", "Method:milliseconds,... ; a task's name delays the task")
	load := flag.String("load", "", "directory written by govc object.save; replaces the model")
	flag.IntVar(&model.Datacenter, "dc", 1, "datacenters")
	flag.IntVar(&model.Cluster, "cluster", 1, "clusters per datacenter")
	flag.IntVar(&model.ClusterHost, "host", 2, "hosts per cluster")
	flag.IntVar(&model.Host, "standalone-host", 0, "hosts outside of clusters, per datacenter")
	flag.IntVar(&model.Datastore, "ds", 2, "datastores per datacenter")
	flag.IntVar(&model.Machine, "vm", 0, "virtual machines per resource pool")
	flag.IntVar(&model.Pod, "pod", 0, "datastore clusters per datacenter")
	flag.IntVar(&model.Folder, "folder", 0, "folders around each object")
	flag.Parse()

	methodDelay, err := parseDelays(*delays)
	if err != nil {
		log.Fatal(err)
	}
	if methodDelay != nil {
		model.DelayConfig.MethodDelay = methodDelay
		simulator.TaskDelay.MethodDelay = methodDelay
	}
	build := model.Create
	if *load != "" {
		build = func() error { return model.Load(*load) }
	}
	if err := build(); err != nil {
		log.Fatal(err)
	}
	skipUsedFieldKeys(model)
	defer model.Remove()
	for _, datastore := range model.Map().All("Datastore") {
		// "OTHER", as the simulator has it, is no type that volumes are placed on; and on a vSAN of
		// one host, as recorded, the simulator makes no VM.
		datastore.(*simulator.Datastore).Summary.Type = "VMFS"
	}

	model.Service.RegisterEndpoints = true
	model.Service.TLS = new(tls.Config)
	model.Service.Listen = &url.URL{Host: *listen}
	if *user != "" {
		model.Service.Listen.User = url.UserPassword(*user, *password)
	}
	// The server is not closed at the end: that waits for long polls, up to a minute.
	server := model.Service.NewServer()

	caFile, err := server.CertificateFile()
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(caFile)
	address := *server.URL
	address.User = nil
	ready := map[string]string{"url": address.String(), "ca_file": caFile}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		log.Fatal(err)
	}

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
}

// skipUsedFieldKeys has new custom attributes get keys above those of a loaded inventory: the
// simulator counts from 0 whatever was loaded, and then two attributes share a key.
func skipUsedFieldKeys(model *simulator.Model) {
	reference := *model.ServiceContent.CustomFieldsManager
	manager := model.Map().Get(reference).(*simulator.CustomFieldsManager)
	loaded := manager.Field
	highest := int32(-1)
	for _, field := range loaded {
		highest = max(highest, field.Key)
	}
	manager.Field = nil
	for key := int32(0); key <= highest; key++ {
		name := fmt.Sprintf("unused %d", key)
		request := types.AddCustomFieldDef{This: reference, Name: name, MoType: "Task"}
		manager.AddCustomFieldDef(model.Service.Context, &request)
	}
	manager.Field = loaded
}

// parseDelays reads "CloneVM_Task:200,CloneVm:100" into milliseconds by name; nil for "".
func parseDelays(text string) (map[string]int, error) {
	if text == "" {
		return nil, nil
	}
	delays := make(map[string]int)
	for item := range strings.SplitSeq(text, ",") {
		name, value, found := strings.Cut(strings.TrimSpace(item), ":")
		milliseconds, err := strconv.Atoi(value)
		if !found || err != nil {
			return nil, fmt.Errorf("-method-delay %q: want Method:milliseconds", item)
		}
		delays[name] = milliseconds
	}
	return delays, nil
}
