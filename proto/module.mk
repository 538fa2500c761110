# The messages: C from protoc-c, with short names (PbPlaceRequest for numastow.v1.PlaceRequest,
# pb_place_request__init(), PB_POLICY_SPREAD), and the descriptors for server reflection.
# They depend on no profile and are made once.

PB := build/proto
proto_FILES := $(sort $(wildcard proto/numastow/v1/*.proto)) proto/grpc/health/v1/health.proto \
	proto/grpc/reflection/v1alpha/reflection.proto $(sort $(wildcard proto/kubelet/*.proto))
# etcd's, which we call and do not serve.
etcd_FILES := $(sort $(wildcard proto/etcd/*.proto))
proto_C := $(patsubst proto/%.proto,$(PB)/%.pb-c.c,$(proto_FILES) $(etcd_FILES)) $(PB)/google/protobuf/descriptor.pb-c.c
proto_H := $(proto_C:.c=.h)

# An enum's values repeat its name: ..._POLICY__POLICY_SPREAD.
PB_NAMES := -e 's/NUMASTOW__V1__([A-Z0-9_]+)__\1_/PB_\1_/g' -e 's/NUMASTOW__V1__/PB_/g' \
	-e 's/Numastow__V1__/Pb/g' -e 's/numastow__v1__/pb_/g'
# EtcdTxnRequest for etcdserverpb.TxnRequest, EtcdKeyValue for mvccpb.KeyValue.
ETCD_NAMES := -e 's/(ETCDSERVERPB|MVCCPB)__/ETCD_/g' -e 's/(Etcdserverpb|Mvccpb)__/Etcd/g' \
	-e 's/(etcdserverpb|mvccpb)__/etcd_/g'
# DraClaim for k8s.io.kubelet.pkg.apis.dra.v1.Claim; KubeletPluginInfo for pluginregistration.PluginInfo;
# DraHealthDeviceHealth for v1.DeviceHealth.
KUBELET_NAMES := -e 's/K8S__IO__KUBELET__PKG__APIS__DRA__V1__/DRA_/g' \
	-e 's/K8s__Io__Kubelet__Pkg__Apis__Dra__V1__/Dra/g' \
	-e 's/k8s__io__kubelet__pkg__apis__dra__v1__/dra_/g' \
	-e 's/K8s__Io__Kubelet__Pkg__Apis__Dra__V1beta1__/DraV1beta1/g' \
	-e 's/k8s__io__kubelet__pkg__apis__dra__v1beta1__/dra_v1beta1_/g' \
	-e 's/\bV1__HEALTH_STATUS__/DRA_HEALTH_/g' -e 's/\bV1__/DraHealth/g' -e 's/\bv1__/dra_health_/g' \
	-e 's/\bv1alpha1__/dra_health_v1alpha1_/g' -e 's/\bV1alpha1__/DraHealthV1alpha1/g' \
	-e 's/PLUGINREGISTRATION__/KUBELET_/g' -e 's/Pluginregistration__/Kubelet/g' \
	-e 's/pluginregistration__/kubelet_/g'

$(PB)/.stamp: $(proto_FILES) $(etcd_FILES) proto/module.mk
	@mkdir -p $(PB)
	@echo "PROTOC"
	$(Q)protoc-c -Iproto --c_out=$(PB) $(patsubst proto/%,%,$(proto_FILES) $(etcd_FILES))
	$(Q)protoc-c -I/usr/include --c_out=$(PB) google/protobuf/descriptor.proto
	$(Q)sed -i -E $(PB_NAMES) $(PB)/numastow/v1/*.pb-c.[ch]
	$(Q)sed -i -E $(ETCD_NAMES) $(PB)/etcd/*.pb-c.[ch]
	$(Q)sed -i -E $(KUBELET_NAMES) $(PB)/kubelet/*.pb-c.[ch]
	$(Q)protoc -Iproto --include_imports --descriptor_set_out=$(PB)/descriptors.bin \
		$(patsubst proto/%,%,$(proto_FILES))
	@touch $@
$(proto_C) $(proto_H) $(PB)/descriptors.bin: $(PB)/.stamp ;

proto_OBJS := $(patsubst $(PB)/%.c,$(B)/proto/%.o,$(proto_C)) $(B)/proto/descriptors.o

# A drain's messages are its shape on this machine, too, without gRPC.
drain_OBJS := $(B)/proto/numastow/v1/drain.pb-c.o

$(B)/proto/%.o: $(PB)/%.c
	@mkdir -p $(@D)
	@echo "CC $<"
	$(Q)$(CC) -D_GNU_SOURCE -isystem $(PB) $(filter -f%,$(STOW_CFLAGS)) $(CFLAGS) -w -c -o $@ $<

# The descriptors as bytes between two symbols, stow_rpc_descriptors and stow_rpc_descriptors_end.
$(B)/proto/descriptors.o: $(PB)/.stamp
	@mkdir -p $(@D)
	$(Q)printf '%s\n' '.section .rodata' '.global stow_rpc_descriptors, stow_rpc_descriptors_end' \
		'stow_rpc_descriptors: .incbin "$(PB)/descriptors.bin"' 'stow_rpc_descriptors_end:' \
		'.section .note.GNU-stack,"",%progbits' | $(CC) -x assembler -c -o $@ -
