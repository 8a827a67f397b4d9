using 'main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'prod')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')
param tier = 'prod'
param authIssuer = readEnvironmentVariable('HUB_AUTH_ISSUER', '')
param authAudience = readEnvironmentVariable('HUB_AUTH_AUDIENCE', 'api://integration-hub')
param platformTenant = readEnvironmentVariable('HUB_PLATFORM_TENANT', '')
param publicUrl = readEnvironmentVariable('HUB_PUBLIC_URL', '')
param sqlAdministratorName = readEnvironmentVariable('DEPLOY_SQL_ADMIN_NAME', '')
param sqlAdministratorObjectId = readEnvironmentVariable('DEPLOY_SQL_ADMIN_OBJECT_ID', '')
param alertEmail = readEnvironmentVariable('DEPLOY_ALERT_EMAIL', '')
param gatewayAddresses = readEnvironmentVariable('DEPLOY_GATEWAY_ADDRESSES', '')
param frontDoorId = readEnvironmentVariable('DEPLOY_FRONT_DOOR_ID', '')
