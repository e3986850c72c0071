# Each target is a thin call; the work is in playbooks/, tests/ and tools/.
VARIANT ?= unicast-static-flood
SUITE   ?= trixie
PREFIX  ?= vtep
HOST    ?= s1
ARGS    ?=
# Where the variants unicast-dynamic-* keep the endpoints: file, or etcd on a host of its own.
REGISTRY ?= file
# none, macsec, ..., with the variants that go with it.
ENCRYPTION ?=
# What the lab's hosts run on: host, the machine's own kernel, or full, one that has MACsec, IPsec and all else, in a guest unless
# the machine's own has them. A guest that is up has the lab of its name, whatever is asked of it.
KERNEL  ?= $(if $(filter-out none,$(ENCRYPTION))$(wildcard /run/vtep-fabric-full/$(PREFIX)),full,host)
# Beside the lab's own inventory, what the variant needs.
WITH    ?= $(if $(filter vxfld-%,$(VARIANT)),lab-vxfld) $(if $(filter etcd,$(REGISTRY)),lab-registry) \
           $(if $(filter-out none,$(ENCRYPTION)),lab-encryption)

RUN  = tools/run
VARS = -e lab_prefix=$(PREFIX) -e lab_suite=$(SUITE)
FULL = $(if $(filter full,$(KERNEL)),FULL_KERNEL=source FULL_GUEST=$(PREFIX) tools/full --if-lacking)
ON   = $(or $(FULL),$(RUN))
PLAY = $(ON) ansible-playbook $(addprefix -i inventories/,lab $(WITH)) $(VARS) $(if $(ENCRYPTION),-e encryption=$(ENCRYPTION)) $(ARGS)
IMAGE = $(RUN) ansible localhost -m include_role -a 'name=vtep.fabric.lab tasks_from=image'

.PHONY: help lab lab-down shell deploy verify teardown images test test-all test-full unit lint sanity molecule bench docs build clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

lab: ## build the lab, deploy VARIANT and prove it with packets (VARIANT=, ENCRYPTION=, KERNEL=host|full, REGISTRY=file|etcd, SUITE=trixie|bookworm|forky, PREFIX=)
	$(if $(FULL),$(IMAGE) $(VARS) $(if $(ENCRYPTION),-e encryption=$(ENCRYPTION)))
	$(if $(FULL),$(FULL) --up)
	$(PLAY) playbooks/lab_up.yml site.yml playbooks/verify.yml -e variant=$(VARIANT)

lab-down: ## take the lab down and leave nothing of it
	$(PLAY) playbooks/lab_down.yml
	$(if $(FULL),$(FULL) --down)

shell: ## a root shell on a lab host (HOST=s1)
	$(ON) python roles/lab/files/lab.py shell $(PREFIX) $(HOST)

deploy: ## deploy VARIANT on the running lab
	$(PLAY) site.yml -e variant=$(VARIANT)

verify: ## prove VARIANT on the running lab with packets
	$(PLAY) playbooks/verify.yml -e variant=$(VARIANT)

teardown: ## remove from the lab's hosts all that the collection made
	$(PLAY) playbooks/teardown.yml

test: lint images ## everything that CI runs
	$(RUN) python tools/test.py

test-all: lint images ## the same, with the ways from every variant to every other one
	TEST_ALL=1 $(RUN) python tools/test.py

test-full: images ## the tests that need MACsec, IPsec and the rest, on a full kernel
	$(IMAGE) -e lab_ike=libreswan
	$(IMAGE) -e lab_ike=libreswan -e lab_suite=bookworm
	FULL_KERNEL=source tools/full --if-lacking pytest --timeout=600 tests/full

images: ## the lab images of all suites and the full kernel, a minute or more each unless they are cached
	$(RUN) ansible-playbook playbooks/lab_images.yml
	tools/full --if-lacking --image || echo 'NOTHING WILL BE TESTED ON A FULL KERNEL. The error before this line says why.'

unit: images ## unit, kernel and lab tests (as root), after make images
	$(RUN) pytest

lint: ## ruff, yamllint, ansible-lint (production), the changelog, the docs
	$(RUN) tools/lint

sanity: ## ansible-test sanity
	$(RUN) tools/sanity

build: ## the tarball, checked by galaxy-importer, installed and run elsewhere
	$(RUN) tools/build

molecule: ## the Molecule scenarios, one a variant
	$(RUN) tools/molecule

bench: ## benchmarks: CPU ratios against iproute2, and site.yml on the lab
	$(RUN) tools/bench

docs: ## the reference of every module, role and plugin as reStructuredText, into build/docs
	$(RUN) tools/docs

clean: ## what was built in the checkout; the cached image and environment stay
	rm -rf build .ansible .pytest_cache .ruff_cache .hypothesis tests/output
